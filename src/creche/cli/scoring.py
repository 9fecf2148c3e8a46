"""Commands that apply a model: score, predict, trace and impact."""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from creche.cli.arguments import MODEL_HELP, Commands, add_command, print_json
from creche.errors import ModelError, UsageError
from creche.project import PREDICTION_FORMATS, SCORING_REPORT, ProjectPaths

if TYPE_CHECKING:
    from creche.contract.reading import CsvDialect
    from creche.model.artifact import Model
    from creche.records import ModelReference
    from creche.registry import ModelVersion
    from creche.scoring.lineage import LocatedPrediction, Replay
    from creche.scoring.single_row import Prediction

SHOWN_INPUTS = 3


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_score(commands)
    _add_predict(commands)
    _add_trace(commands)
    _add_impact(commands)


def _add_score(commands: Commands) -> None:
    parser = add_command(
        commands,
        "score",
        _score,
        "Score files of observations: every row comes back, scored or quarantined with its "
        "reasons. Predictions, quarantine, a manifest and report.html, the manifest as a page, are "
        "written; where the files have the column of the label, accuracy and the other figures of "
        "the gate are stated too.",
        "creche score examples/observations.csv --recipe penguins --out predictions",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        nargs="+",
        help="CSV, JSON, Parquet, ORC, Arrow, Excel or Delta Lake: files, globs, folders or URLs",
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--recipe", metavar="RECIPE", help="score with this recipe's champion")
    model.add_argument(
        "--model", metavar="MODEL", help="penguins@champion, penguins@7, or an .onnx file"
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        type=Path,
        required=True,
        help="a new folder, or one of an earlier scoring",
    )
    parser.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="of a Dask scheduler, whose cluster scores a file in each task",
    )
    parser.add_argument(
        "--csv",
        metavar="KEYS",
        help='how CSV files are written, as data.csv of a recipe says it: \'{separator: "|", '
        "encoding: latin-1}'; by default as the files that the model was trained on",
    )
    parser.add_argument(
        "--format",
        choices=PREDICTION_FORMATS,
        default="parquet",
        help="of the predictions (default: parquet)",
    )


def _add_predict(commands: Commands) -> None:
    parser = add_command(
        commands,
        "predict",
        _predict,
        "Predict one observation.",
        "creche predict penguins island=Dream bill_length_mm=50.4 bill_depth_mm=15.3 "
        "flipper_length_mm=200 body_mass_g=5000",
    )
    parser.add_argument("model", metavar="MODEL", help=MODEL_HELP)
    parser.add_argument("values", metavar="NAME=VALUE", nargs="+")


def _add_trace(commands: Commands) -> None:
    parser = add_command(
        commands,
        "trace",
        _trace,
        "Trace a prediction back to its row, model and data, and replay it.",
        "creche trace predictions:12",
    )
    parser.add_argument(
        "prediction",
        metavar="OUT:ROW",
        help="or OUT:COLUMN=VALUE; OUT is a scoring's folder, or a file in it",
    )
    parser.add_argument(
        "--model", metavar="FILE", help="the model's file, where the registry does not have it"
    )


def _add_impact(commands: Commands) -> None:
    parser = add_command(
        commands,
        "impact",
        _impact,
        "List the scorings that used a model or a data version.",
        "creche impact --model penguins@1",
    )
    parser.add_argument("--model", metavar="MODEL", help="a recipe, or penguins@7")
    parser.add_argument("--data", metavar="VERSION", help="a data version, or its start")


def _score(options: argparse.Namespace) -> int:
    from creche.api.project import Project
    from creche.scoring.executors import DaskExecutor
    from creche.scoring.manifest import summary_lines

    manifest = Project().score(
        options.files,
        out=options.out,
        recipe=options.recipe,
        model=options.model,
        output_format=options.format,
        csv=None if options.csv is None else _csv_dialect(options.csv),
        executor=DaskExecutor(options.dask) if options.dask else None,
    )
    if options.json:
        print_json(manifest)
        return 0
    summary, *details = summary_lines(manifest)
    print(f"SCORED  {summary}")
    for line in details:
        print(f"  {line}")
    if (options.out / SCORING_REPORT).is_file():
        print(f"  {options.out}: predictions, quarantine.parquet, report.html, manifest.json")
        return 0
    print(f"  {options.out}: predictions, quarantine.parquet, manifest.json")
    print("  no report.html: run `pip install 'creche[pipeline]'` to have it written too")
    return 0


def _csv_dialect(keys: str) -> "CsvDialect":
    from creche.contract.reading import dialect_from_dict
    from creche.recipe.yaml_reader import parse_mapping

    try:
        return dialect_from_dict(parse_mapping(keys))
    except ValueError as error:
        raise UsageError(f"--csv {keys}: {error}") from None


def _predict(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.scoring.single_row import predict

    cells: dict[str, str] = {}
    for argument in options.values:
        name, separator, value = argument.partition("=")
        if not separator:
            raise UsageError(f"'{argument}' is not NAME=VALUE: state each column so")
        if name in cells:
            raise UsageError(f"'{name}' is given twice")
        cells[name] = value
    model, version = registry.open_model(options.model, ProjectPaths.find())
    prediction = predict(model, cells)
    if options.json:
        model_fields = {"model_version": version, "model_digest": model.digest}
        print_json({**asdict(prediction), **model_fields})
        return 0
    print("\n".join(_prediction_lines(prediction)))
    print(f"  by {model.metadata.recipe} version {version} ({model.digest[:12]})")
    return 0


def _prediction_lines(prediction: "Prediction") -> Iterator[str]:
    """Yield the lines of one prediction, with what speaks against it."""
    from creche.scoring.single_row import LOW_OOD_SCORE

    yield prediction.label
    for class_name, probability in prediction.probabilities.items():
        shown = "unknown" if probability is None else f"{probability:.6f}"
        yield f"  {class_name:<12} {shown}"
    if prediction.ood_score is not None:
        yield f"  prediction set: {', '.join(prediction.prediction_set)}"
        yield f"  OOD score: {prediction.ood_score:g}"
    if prediction.is_unlike_training:
        yield (
            f"  WARNING: unlike the training data, for fewer than {LOW_OOD_SCORE:.0%} of the "
            "calibration rows are as far from them: check the values before you rely on the label"
        )
    for name, value in prediction.unseen.items():
        yield f"  WARNING: no training row has {name} '{value}', so nothing is known of it"
    if prediction.ignored:
        yield f"  ignored, for the model does not take them: {', '.join(prediction.ignored)}"


def _trace(options: argparse.Namespace) -> int:
    from creche.scoring.lineage import find_row, replay

    prediction = find_row(options.prediction)
    reference = prediction.manifest.model
    version, model = _model_of(reference, options.model)
    replayed = replay(model, prediction)
    tags = version.tags if version is not None else {}
    if options.json:
        lineage = {
            "row": prediction.row,
            "model": reference,
            "verdict": tags.get("verdict"),
            "verdict_id": tags.get("verdict_id"),
            "provenance": model.metadata.provenance.to_dict(),
            "inputs": prediction.manifest.inputs,
            "replayed": asdict(replayed),
        }
        print_json(lineage)
    else:
        print("\n".join(_trace_lines(prediction, tags, replayed)))
    # A prediction that cannot be repeated is a failure, for scripts too.
    return 0 if replayed.same else 1


def _trace_lines(
    prediction: "LocatedPrediction", tags: Mapping[str, str], replayed: "Replay"
) -> Iterator[str]:
    """Yield the row, its model, its input files, and whether the model repeats the prediction.

    Args:
        tags: of the registered version; empty where there is none.
    """
    for name, value in prediction.row.items():
        yield f"  {name:<22} {value}"
    reference = prediction.manifest.model
    verdict = tags.get("verdict", "not on record")
    verdict_id = tags.get("verdict_id", "")
    yield (
        f"  by {reference.recipe} version {reference.version} ({reference.digest[:12]}), "
        f"data {reference.data_version[:12]}, verdict {verdict} {verdict_id}"
    )
    files = [entry.file for entry in prediction.manifest.inputs]
    more = len(files) - SHOWN_INPUTS
    suffix = f" and {more:,} more" if more > 0 else ""
    yield f"  from {', '.join(files[:SHOWN_INPUTS])}{suffix}"
    if replayed.same:
        yield "  replayed: the same label and probabilities, bit for bit"
    else:
        yield f"  replayed: NOT THE SAME: {asdict(replayed)}"


def _model_of(reference: "ModelReference", file: str | None) -> "tuple[ModelVersion | None, Model]":
    """Return the registered version, if any, and the model that a manifest refers to.

    Args:
        file: the model's file, in place of the registered or cached one.
    """
    from creche import registry
    from creche.model.artifact import UNREGISTERED, Model

    paths = ProjectPaths.find()
    digest = reference.digest
    version = None
    if reference.version != UNREGISTERED:
        version = registry.registered_version(reference.recipe, reference.version, paths)
        if version is None or version.digest != digest:
            # The recipe may have another name now.
            version = registry.version_of_digest(digest, paths)
    path = registry.cached_model_path(digest, paths)
    if version is not None:
        path = version.path
    if file:
        path = Path(file)
    if version is None and not path.is_file():
        raise ModelError(
            f"the model {digest[:12]} is not on this machine: name its file with --model"
        )
    return version, Model(path, digest)


def _check_registered(paths: ProjectPaths, recipe: str, version: str, data: str | None) -> None:
    """Check that the store has what `impact` is to list.

    Args:
        recipe: empty where a model's file is named, or none.
        version: empty for all versions of the recipe.
        data: the start of a data version; None: any.

    Raises:
        ModelError: it has not.
    """
    from creche import registry

    versions = registry.list_versions(paths, recipe or None)
    if recipe and not versions:
        raise ModelError(f"{recipe} has no versions: run `creche retrain {recipe}`")
    if recipe and version and all(str(stored.version) != version for stored in versions):
        raise ModelError(
            f"{recipe} has no version {version}: run `creche models {recipe}` to list those it has"
        )
    if data is not None and all(
        not stored.tags.get("data_version", "").startswith(data) for stored in versions
    ):
        raise ModelError(
            f"no model here was trained on a data version that begins with {data}: run "
            "`creche models RECIPE`, which states them"
        )


def _impact(options: argparse.Namespace) -> int:
    from creche import registry
    from creche.provenance import sha256_of
    from creche.scoring.scoring_log import impact

    paths = ProjectPaths.find()
    recipe, _, version = (options.model or "").partition("@")
    if recipe.endswith(".onnx"):
        version = sha256_of(Path(recipe))
        recipe = ""
    elif version and not version.isdigit():
        version = registry.find_version(options.model, paths).version
    digests = {
        stored.tags.get("digest", "")
        for stored in registry.list_versions(paths, recipe or None)
        if recipe and version in ("", str(stored.version))
    }
    entries = impact(paths, recipe or None, version or None, options.data, digests)
    if not entries:
        # A version or recipe that does not exist was used by no scoring either.
        _check_registered(paths, recipe, version, options.data)
    if options.json:
        print_json(entries)
        return 0
    for entry in entries:
        model = entry.model
        print(
            f"{entry.time}  {entry.scored:>10} rows  {model.recipe}@{model.version}  "
            f"data {model.data_version[:12]}  {entry.out}"
        )
    rows = sum(entry.scored for entry in entries)
    print(f"{len(entries)} scorings, {rows} rows")
    return 0
