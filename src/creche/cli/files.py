"""Commands about one model file: verify and show."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.errors import UsageError
from creche.project import ProjectPaths

if TYPE_CHECKING:
    from creche.model.metadata import ModelMetadata


def add_commands(commands: Commands) -> None:
    parser = add_command(
        commands,
        "verify",
        _verify,
        "Check a model file by itself: its digest, and its golden rows.",
        "creche verify penguins.onnx --digest 3f1c…",
    )
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    parser.add_argument("--digest", metavar="SHA256", help="what the file must be")

    parser = add_command(
        commands,
        "show",
        _show,
        "Show the contract, classes and provenance of a model file, or its learned weights.",
        "creche show weights penguins",
    )
    parser.add_argument("words", metavar="[weights] MODEL", nargs="+", help="MODEL as for predict")


def _verify(options: argparse.Namespace) -> int:
    from creche.model.artifact import Model

    model = Model(Path(options.file), options.digest)
    mismatches = model.verify()
    provenance = model.metadata.provenance.to_dict()
    exit_code = 1 if mismatches else 0
    if options.json:
        print_json(
            {
                "digest": model.digest,
                "ok": not mismatches,
                "mismatches": mismatches,
                "provenance": provenance,
            }
        )
        return exit_code
    print(f"{'MISMATCH' if mismatches else 'OK'}  {options.file}, SHA-256 {model.digest}")
    for mismatch in mismatches:
        print(f"  {mismatch}")
    if not mismatches:
        rows = len(model.metadata.golden.label)
        print(f"  reproduces the recorded predictions of all {rows} golden rows")
    for name, value in provenance.items():
        print(f"  {name:<15} {value}")
    return exit_code


def _show(options: argparse.Namespace) -> int:
    from creche import registry

    *what, reference = options.words
    if what not in ([], ["weights"]):
        raise UsageError(f"show MODEL, or show weights MODEL, not 'show {' '.join(options.words)}'")
    model, _ = registry.open_model(reference, ProjectPaths.find())
    if what:
        _show_weights(model.content, options.json)
    elif options.json:
        print_json({"digest": model.digest, **model.metadata.to_dict()})
    else:
        print("\n".join(_description(model.digest, model.metadata)))
    return 0


def _show_weights(content: bytes, as_json: bool) -> None:
    from creche.model.graph import weights

    parameters = {}
    for name, weight in weights(content).items():
        parameters[name] = {"shape": list(weight.shape), "values": weight.tolist()}
    if as_json:
        print_json(parameters)
        return
    for name, parameter in parameters.items():
        print(f"{name}  {' × '.join(map(str, parameter['shape']))}")
        is_matrix = len(parameter["shape"]) > 1
        rows = parameter["values"] if is_matrix else [parameter["values"]]
        for row in rows:
            print("  " + " ".join(f"{value:9.4f}" for value in row))


def _description(digest: str, metadata: "ModelMetadata") -> Iterator[str]:
    """Yield what a model file states, for a person; `--json` gives all of it."""
    classes = ", ".join(metadata.preprocessor.classes)
    yield f"{metadata.recipe}: predicts {metadata.label} ({classes})"
    yield f"  SHA-256 {digest}"
    yield ""
    yield "inputs"
    for name, column in metadata.contract.columns.items():
        yield f"  {name:<20} {column.kind:<9} {column.type.limits(column)}"
    uncertainty = metadata.uncertainty
    yield ""
    yield "outputs"
    yield "  label, or unknown; a probability for each class"
    yield f"  ood_score ({uncertainty.ood_score})"
    yield (
        f"  a prediction set that holds the true class in {uncertainty.coverage:.0%} "
        f"({uncertainty.prediction_set}, calibrated on {uncertainty.calibration_rows} rows)"
    )
    statistics = metadata.statistics
    rows = next(iter(statistics.columns.values()))["rows"]
    shares = [f"{name} {share:.0%}" for name, share in statistics.classes.items()]
    yield ""
    yield "trained on"
    yield f"  {rows} rows: {', '.join(shares)}"
    yield f"  license {metadata.data.license}. {metadata.data.citation}"
    yield ""
    yield "provenance"
    for name, value in metadata.provenance.to_dict().items():
        yield f"  {name:<15} {value}"
