"""The report of a scoring as a self-contained page.

It states no times, so that the same input and model give the same bytes.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from creche.reporting.template_environment import template_environment

if TYPE_CHECKING:
    from creche.data.quarantine import ReasonExample
    from creche.records import KnownLabels, MetricEstimate, ScoringManifest

SHOWN_FILES = 100
SHOWN_REASONS = 20
SHOWN_CLASSES = 100
# Of more classes, the most frequent confusions take the place of the whole matrix.
MATRIX_CLASSES = 20
SHOWN_CONFUSIONS = 20
LOW_OOD_SCORE = 0.05
METRIC_TITLES = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss (nats)",
    "brier_score": "Brier score",
}


def scoring_page(manifest: "ScoringManifest", examples: "Mapping[str, ReasonExample]") -> str:
    """Return the page of a scoring: counts, reasons, predicted classes, OOD scores, files and the
    model, and what it is worth where the labels are known.

    Args:
        manifest: of the scoring.
        examples: reason → an example, of the most frequent ones.
    """
    known = manifest.known_labels
    return (
        template_environment()
        .get_template("scoring.html.j2")
        .render(
            manifest=manifest,
            model_rows=_model_rows(manifest),
            reason_rows=_reason_rows(manifest, examples),
            label_rows=_label_rows(manifest),
            ood_rows=_ood_rows(manifest),
            low_ood_rows=_low_ood_rows(manifest),
            known=known,
            figure_rows=[] if known is None else _figure_rows(known),
            class_rows=[] if known is None else _class_rows(known),
            confusion_header=[] if known is None else _confusion_header(known),
            confusion_rows=[] if known is None else _confusion_rows(known),
            calibration_rows=[] if known is None else _calibration_rows(known),
            file_rows=_file_rows(manifest),
            shown_files=SHOWN_FILES,
            shown_reasons=SHOWN_REASONS,
            shown_classes=SHOWN_CLASSES,
        )
    )


Row = tuple[Any, ...]


def _model_rows(manifest: "ScoringManifest") -> list[Row]:
    model = manifest.model
    return [
        ("recipe", model.recipe),
        ("version", model.version),
        ("SHA-256 of the model file", model.digest),
        ("verdict of the gate", model.verdict_id or "not on record"),
        ("version of the training data", model.data_version),
        ("version of creche", manifest.engine),
    ]


def _reason_rows(manifest: "ScoringManifest", examples: "Mapping[str, ReasonExample]") -> list[Row]:
    rows: list[Row] = []
    for reason, count in list(manifest.reasons.items())[:SHOWN_REASONS]:
        example = examples.get(reason)
        cell = example.cell if example is not None else ""
        place = example.place if example is not None else ""
        rows.append((reason, f"{count:,}", cell, place))
    return rows


def _label_rows(manifest: "ScoringManifest") -> list[Row]:
    most_frequent_first = sorted(manifest.labels.items(), key=lambda entry: -entry[1])
    rows: list[Row] = []
    for name, count in most_frequent_first[:SHOWN_CLASSES]:
        rows.append((name, f"{count:,}", _percent(count, manifest.scored)))
    return rows


def _ood_rows(manifest: "ScoringManifest") -> list[Row]:
    rows: list[Row] = []
    unknown = manifest.scored
    for count in manifest.ood_scores:
        levels = f"{count.low:g}" if count.low == count.high else f"{count.low:g} to {count.high:g}"
        rows.append((levels, f"{count.rows:,}", _percent(count.rows, manifest.scored)))
        unknown -= count.rows
    rows.append(("none: predicted as unknown", f"{unknown:,}", _percent(unknown, manifest.scored)))
    return rows


def _low_ood_rows(manifest: "ScoringManifest") -> int:
    """Return how many scored rows are less like the training data than nearly all of it."""
    return sum(count.rows for count in manifest.ood_scores if count.high < LOW_OOD_SCORE)


def _figure_rows(known: "KnownLabels") -> list[Row]:
    rows: list[Row] = [("accuracy", _with_interval(known.metrics["accuracy"]))]
    for name, title in METRIC_TITLES.items():
        rows.append((title, _with_interval(known.metrics[name])))
    rows.append(("expected calibration error", f"{known.expected_calibration_error:.4f}"))
    rows.append(("predicted as unknown", f"{sum(known.unknown.values()):,}"))
    return rows


def _class_rows(known: "KnownLabels") -> list[Row]:
    rows: list[Row] = []
    for name in known.classes[:SHOWN_CLASSES]:
        recall = known.metrics[f"recall of {name}"]
        precision = known.metrics[f"precision of {name}"]
        counts = (f"{recall.rows:,}", f"{precision.rows:,}", f"{known.unknown[name]:,}")
        rows.append((name, _with_interval(recall), _with_interval(precision), *counts))
    return rows


def _confusion_header(known: "KnownLabels") -> list[str]:
    if len(known.classes) > MATRIX_CLASSES:
        return ["true class", "predicted class", "rows"]
    return ["true class", *(f"predicted {name}" for name in known.classes), "predicted unknown"]


def _confusion_rows(known: "KnownLabels") -> list[Row]:
    """Return the confusion matrix, or of many classes the most frequent confusions."""
    if len(known.classes) > MATRIX_CLASSES:
        return _most_frequent_confusions(known)
    rows: list[Row] = []
    for name, counts in zip(known.classes, known.confusion_matrix, strict=True):
        cells = [f"{count:,}" for count in (*counts, known.unknown[name])]
        rows.append((name, *cells))
    return rows


def _most_frequent_confusions(known: "KnownLabels") -> list[Row]:
    confusions = []
    for actual, counts in zip(known.classes, known.confusion_matrix, strict=True):
        for predicted, count in zip(known.classes, counts, strict=True):
            if count and predicted != actual:
                confusions.append((actual, predicted, count))
    confusions.sort(key=lambda confusion: -confusion[2])
    rows: list[Row] = []
    for actual, predicted, count in confusions[:SHOWN_CONFUSIONS]:
        rows.append((actual, predicted, f"{count:,}"))
    return rows


def _calibration_rows(known: "KnownLabels") -> list[Row]:
    bin_count = len(known.calibration_bins)
    rows: list[Row] = []
    for index, calibration_bin in enumerate(known.calibration_bins):
        if calibration_bin.rows:
            limits = f"{index / bin_count:g} to {(index + 1) / bin_count:g}"
            shares = (f"{calibration_bin.confidence:.4f}", f"{calibration_bin.accuracy:.4f}")
            rows.append((limits, f"{calibration_bin.rows:,}", *shares))
    return rows


def _file_rows(manifest: "ScoringManifest") -> list[Row]:
    rows: list[Row] = []
    for entry in manifest.inputs[:SHOWN_FILES]:
        quarantined = entry.rows - entry.scored
        counts = (f"{entry.rows:,}", f"{entry.scored:,}", f"{quarantined:,}")
        renamed = [f"{header_name} as {name}" for header_name, name in entry.renamed.items()]
        rows.append((entry.file, entry.format, *counts, entry.sha256[:12], ", ".join(renamed)))
    return rows


def _with_interval(metric: "MetricEstimate") -> str:
    if metric.value is None:
        return "not measured"
    if metric.low is None or metric.high is None:
        return f"{metric.value:.4f}"
    return f"{metric.value:.4f} ({metric.low:.4f} to {metric.high:.4f})"


def _percent(rows: int, of_rows: int) -> str:
    return f"{100 * rows / of_rows:.1f} %" if of_rows else ""
