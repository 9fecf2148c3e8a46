"""Commands about one model file: verify and show."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.errors import UsageError
from creche.project import ProjectPaths

if TYPE_CHECKING:
    from creche.model.artifact import Model


def add_commands(commands: Commands) -> None:
    """Add these commands to the parser."""
    _add_verify(commands)
    _add_show(commands)


def _add_verify(commands: Commands) -> None:
    parser = add_command(
        commands,
        "verify",
        _verify,
        "Check a model file by itself: its digest, and its golden rows.",
        "creche verify var/runs/RUN/model.onnx",
    )
    parser.add_argument("file", metavar="FILE", help="an .onnx file")
    parser.add_argument("--digest", metavar="SHA256", help="what the file must be")


def _add_show(commands: Commands) -> None:
    parser = add_command(
        commands,
        "show",
        _show,
        "Show the contract, classes and provenance of a model file, or its learned weights.",
        "creche show weights penguins",
    )
    parser.add_argument("model", metavar="[weights] MODEL", nargs="+", help="MODEL as for predict")


def _verify(options: argparse.Namespace) -> int:
    from creche.model.artifact import Model

    model = Model(Path(options.file), options.digest)
    mismatches = model.verify()
    provenance = model.metadata.provenance.to_dict()
    exit_code = 1 if mismatches else 0
    if options.json:
        result = {
            "digest": model.digest,
            "ok": not mismatches,
            "mismatches": mismatches,
            "provenance": provenance,
        }
        print_json(result)
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

    *keywords, reference = options.model
    if keywords not in ([], ["weights"]):
        arguments = " ".join(options.model)
        raise UsageError(f"show MODEL, or show weights MODEL, not 'show {arguments}'")
    model, _ = registry.open_model(reference, ProjectPaths.find())
    if keywords:
        _show_weights(model.content, options.json)
    elif options.json:
        print_json({"digest": model.digest, **model.metadata.to_dict()})
    else:
        print("\n".join(_description(model)))
    return 0


def _show_weights(content: bytes, as_json: bool) -> None:
    from creche.model.graph import weights

    parameters = weights(content)
    if as_json:
        values = {}
        for name, weight in parameters.items():
            values[name] = {"shape": list(weight.shape), "values": weight.tolist()}
        print_json(values)
        return
    for name, weight in parameters.items():
        print(f"{name}  {' × '.join(map(str, weight.shape))}")
        rows = weight.tolist() if weight.ndim > 1 else [weight.tolist()]
        for row in rows:
            print("  " + " ".join(f"{value:9.4f}" for value in row))


def _description(model: "Model") -> Iterator[str]:
    """Yield the lines of a model file's description; `--json` prints all of its metadata."""
    from creche.records import DecisionReport
    from creche.reporting.formats import decision, terms_of_data
    from creche.reporting.seen_values import describe_vocabulary

    metadata = model.metadata
    classes = ", ".join(metadata.preprocessor.classes)
    yield f"{metadata.recipe}: predicts {metadata.label} ({classes})"
    yield f"  SHA-256 {model.digest}"
    yield ""
    yield "inputs"
    encoders = model.category_encoders
    for name, column in metadata.contract.columns.items():
        limits = column.type.describe_limits(column)
        if not limits and name in encoders:
            limits = describe_vocabulary(encoders[name])
        if column.missing == "allow":
            missing = metadata.statistics.missing.get(name, 0) / metadata.statistics.rows
            limits = f"{limits}, or missing ({missing:.1%} in training)".removeprefix(", ")
        yield f"  {name:<20} {column.kind:<9} {limits}"
    if metadata.contract.row_rules:
        yield ""
        yield "rules, which refuse a row"
        for rule in metadata.contract.row_rules:
            yield f"  {rule}"
    uncertainty = metadata.uncertainty
    yield ""
    yield "outputs"
    yield "  label, or unknown; a probability for each class"
    if metadata.decision:
        yield f"  {decision(DecisionReport(**asdict(metadata.decision)))}"
    yield f"  ood_score ({uncertainty.ood_score})"
    yield (
        f"  a prediction set that holds the true class in {uncertainty.coverage:.0%} "
        f"({uncertainty.prediction_set}, calibrated on {uncertainty.calibration_rows} rows)"
    )
    statistics = metadata.statistics
    shares = [f"{name} {share:.0%}" for name, share in statistics.classes.items()]
    yield ""
    yield "trained on"
    yield f"  {statistics.rows} rows: {', '.join(shares)}"
    yield f"  {terms_of_data(metadata.data.license, metadata.data.citation)}"
    yield ""
    yield "provenance"
    for name, value in metadata.provenance.to_dict().items():
        yield f"  {name:<15} {value}"
