"""How numbers and tables are written, alike on every page."""

from collections.abc import Sequence
from typing import Any

from creche.recipe import METRICS, NOT_STATED
from creche.records import DecisionReport, Evaluation, ValidationReport, Verdict
from creche.registry import RecordedVerdict

NOT_MEASURED = "not measured"


def fraction(value: float | None) -> str:
    """Return a fraction, 0..1, to three decimals; `not measured` where it was not measured."""
    return NOT_MEASURED if value is None else f"{value:.3f}"


def number(value: float | str | None) -> str:
    """Return a number to four significant digits; `not measured` where it was not measured."""
    if value is None:
        return NOT_MEASURED
    if isinstance(value, str):
        return value
    if isinstance(value, int):
        return str(value)
    return f"{value:.4g}"


def accuracy(metrics: Evaluation | RecordedVerdict) -> str:
    """Return an accuracy with its 95 % interval."""
    interval = f"{metrics.accuracy_low:.4f}–{metrics.accuracy_high:.4f}"
    return f"{metrics.accuracy:.4f} ({interval})"


def metric_title(name: str) -> str:
    """Return the name of a metric as text has it: `macro F1` of `macro_f1`."""
    for metric, definition in METRICS.items():
        if metric == name:
            return definition.title
    # `recall of CLASS` is a name that text has.
    return name


def decision(report: DecisionReport) -> str:
    """Return by which class weights the label is decided on, and why by those, in sentences."""
    weights = [f"{name} {number(value)}" for name, value in report.weights.items()]
    return (
        "A row is predicted as the class of the largest probability times weight: "
        f"{', '.join(weights)}. They were chosen on {report.rows} validation rows for "
        f"{metric_title(report.metric)} {number(report.value)}, where the most likely class gives "
        f"{number(report.value_of_most_likely)}."
    )


def opponent(verdict: Verdict) -> str:
    """Return what a model was compared with."""
    if verdict.champion is None:
        return "no champion"
    return f"champion version {verdict.champion.version}"


def terms_of_data(license_name: str, citation: str) -> str:
    """Return the license and the citation of the data as sentences."""
    if license_name == citation == NOT_STATED:
        return "The recipe states neither license nor citation of the data."
    parts = [f"License: {license_name}."]
    parts.append("No citation is stated." if citation == NOT_STATED else citation)
    return " ".join(parts)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return a table in Markdown; None gives an empty cell."""
    lines = [_markdown_row(header), _markdown_row(["---"] * len(header))]
    for row in rows:
        lines.append(_markdown_row(row))
    return "\n".join(lines)


def _markdown_row(cells: Sequence[Any]) -> str:
    texts = []
    for cell in cells:
        text = "" if cell is None else str(cell)
        texts.append(text.replace("|", "\\|"))
    return "| " + " | ".join(texts) + " |"


def row_counts(validation: ValidationReport) -> str:
    """Return how many rows of the data are used, in words."""
    counts = f"{validation.accepted} accepted, {validation.quarantined} quarantined"
    if validation.unlabeled:
        counts += f" ({validation.unlabeled} of them without a label)"
    return counts
