"""The sections of a model's description, which the card and the Prefect page both show."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from creche.project import CURVES, EVALUATION_PLOT, MISTAKES
from creche.records import (
    CheckResult,
    Comparison,
    Evaluation,
    MetricComparison,
    ModelDescription,
    OodMetrics,
    PromotionResult,
    RunRecord,
    SourceInfo,
    SplitReport,
    TrainingReport,
    UnknownPredictions,
    ValidationReport,
    Verdict,
)
from creche.reporting import formats

Cells = tuple[Any, ...]
SHOWN_UNSEEN_VALUES = 10
INPUT_HEADER = ("input", "kind", "unit", "from", "to", "values", "missing")


@dataclass(frozen=True)
class Section:
    """A part of a card: text, a table under a header, an image, or all of them."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[Cells, ...] = ()
    image: str = ""  # name of a file of the run


def sections(run: RunRecord, model: ModelDescription | None) -> list[Section]:
    """Return the sections of a card; every number comes from the run's record."""
    return list(_sections(run, model))


def _sections(run: RunRecord, model: ModelDescription | None) -> Iterator[Section]:
    if run.evaluation:
        yield _opening(run.evaluation, run.verdict)
    if model:
        yield _intended_use(model)
    if run.validation and run.source:
        yield _data(run.source, run.validation, model)
    if run.split:
        yield _split(run.split)
    if run.training:
        yield _training(run.training)
    if run.evaluation:
        yield from _evaluation(run.evaluation)
    if run.verdict:
        yield _gate(run.verdict)
        if run.verdict.comparison:
            yield _comparison(run.verdict, run.verdict.comparison)
    if run.promotion:
        yield _how_to_load(run.recipe, run.promotion)


def _opening(evaluation: Evaluation, verdict: Verdict | None) -> Section:
    """Return the verdict and the accuracy: what a reader wants before the details."""
    judged = f"{evaluation.rows} holdout rows"
    if evaluation.folds is not None:
        judged = (
            f"{evaluation.rows} rows, each predicted by a model trained without its fold (of "
            f"{evaluation.folds})"
        )
    interval = f"{evaluation.accuracy_low:.4f} to {evaluation.accuracy_high:.4f}"
    accuracy = f"Accuracy {evaluation.accuracy:.4f} on {judged}, 95 % interval {interval}."
    if verdict is None:
        return Section("No verdict", (accuracy,))
    failed = [check.name for check in verdict.checks if not check.passed]
    total = len(verdict.checks)
    checks = f"{total} checks, all passed."
    if failed:
        checks = f"{len(failed)} of {total} checks failed: {', '.join(failed)}."
    title = f"{verdict.verdict}, against {formats.opponent(verdict)}"
    return Section(title, (verdict.reason, accuracy, checks))


def _intended_use(model: ModelDescription) -> Section:
    rows: list[Cells] = []
    for column in model.inputs:
        missing = "allowed" if column.missing else "refused"
        limits = (column.unit, column.min, column.max)
        rows.append((column.name, column.kind, *limits, column.values, missing))
    lines = [f"{model.description}.", f"Out of scope: {model.out_of_scope}"]
    for rule in model.rules:
        lines.append(f"A row is refused that breaks the rule: {rule}.")
    return Section(
        title="Intended use",
        lines=tuple(lines),
        header=INPUT_HEADER,
        rows=tuple(rows),
    )


def _data(
    source: SourceInfo, validation: ValidationReport, model: ModelDescription | None
) -> Section:
    counts = formats.row_counts(validation)
    lines = [f"{source.path}, version {source.data_version}: {validation.rows} rows, {counts}."]
    if model:
        lines.append(formats.terms_of_data(model.license, model.citation))
    for check in validation.table:
        lines.append(f"Checked: {check.message}.")
    reasons = tuple(validation.reasons.items())
    return Section("Data", tuple(lines), ("reason for quarantine", "rows"), reasons)


def _split(split: SplitReport) -> Section:
    """Return rows and groups by split, with the share of each class in it."""
    classes = list(split.train)
    rows: list[Cells] = []
    for split_name, counts in split.by_split().items():
        total = sum(counts.values())
        cells: list[Any] = [split_name, total, split.groups.get(split_name)]
        if split.times:
            times = split.times.get(split_name)
            cells.append(f"{times.first} to {times.last}" if times else None)
        for name in classes:
            cells.append(f"{counts[name]} ({counts[name] / max(total, 1):.1%})")
        rows.append(tuple(cells))
    header = ["split", "rows", "groups"]
    if split.times:
        header.append("from, to")
    header += classes
    lines: tuple[str, ...] = ()
    if split.folds:
        return _folds(split)
    if split.left_out:
        lines = (f"{split.left_out} rows are left out, since their group has a newer row.",)
    return Section("Splits, no group in two of them", lines, tuple(header), tuple(rows))


def _folds(split: SplitReport) -> Section:
    """Return rows by fold, with the share of each class in it."""
    rows: list[Cells] = []
    for fold, counts in enumerate(split.folds, 1):
        total = sum(counts.values())
        shares = [f"{count} ({count / max(total, 1):.1%})" for count in counts.values()]
        rows.append((f"fold {fold}", total, *shares))
    header = ("fold", "rows", *split.train)
    return Section("Folds, no group in two of them", (), header, tuple(rows))


def _training(training: TrainingReport) -> Section:
    device = training.device
    if training.processes > 1:
        device += f", shared by {training.processes} processes"
    if training.pool:
        device += f", in pool {training.pool}"
    line = (
        f"{training.epochs} epochs on {device}; the weights of epoch {training.selected_epoch} "
        f"are kept, validation loss from the {training.monitored} rows."
    )
    lines = [line]
    if training.folds:
        epochs = ", ".join(str(fold.selected_epoch) for fold in training.folds)
        lines.append(
            f"Cross-validation: of each of {len(training.folds)} folds a model was trained on the "
            f"others, and epochs {epochs} were selected. The file that ships was trained on all "
            "rows for their mean; no row is held out from it, and the metrics are those of the "
            "folds' models."
        )
    if training.reused_from:
        lines.append(
            f"Trained by run {training.reused_from}: what decides the weights is unchanged."
        )
    if training.fallback_reason:
        lines.append(f"Trained here: {training.fallback_reason}")
    return Section("Training", tuple(lines), image=CURVES)


def _evaluation(evaluation: Evaluation) -> Iterator[Section]:
    metrics_line = (
        f"Log loss {evaluation.log_loss:.4f}, expected calibration error "
        f"{evaluation.expected_calibration_error:.4f}."
    )
    sets = evaluation.prediction_sets
    coverage_line = (
        f"Prediction sets with a promised coverage of {sets.coverage:.0%} hold the true class in "
        f"{sets.covered} of {evaluation.rows} rows; a set holds {sets.mean_size:.2f} classes on "
        "average."
    )
    rows: list[Cells] = []
    for name, metrics in evaluation.per_class.items():
        recall = formats.fraction(metrics.recall)
        rows.append((name, metrics.rows, formats.fraction(metrics.precision), recall))
    header = ("class", "rows", "precision", "recall")
    lines = [metrics_line, coverage_line, _ood(evaluation.ood), _unknown(evaluation.unknown)]
    if evaluation.decision:
        lines.append(formats.decision(evaluation.decision))
    yield Section("Holdout", tuple(lines), header, tuple(rows), EVALUATION_PLOT)
    if evaluation.mistakes is not None:
        line = f"{evaluation.mistakes} holdout images are predicted wrongly."
        yield Section("Most confident mistakes", (line,), image=MISTAKES)
    if evaluation.metrics:
        yield _metrics(evaluation)
    if evaluation.slices:
        rows = []
        for part in evaluation.slices:
            name = f"{part.column} {part.value}"
            rows.append((name, part.rows, formats.fraction(part.accuracy)))
        yield Section("Slices", (), ("slice", "rows", "accuracy"), tuple(rows))


def _metrics(evaluation: Evaluation) -> Section:
    """Return every metric with its interval, those of each class last."""
    rows: list[Cells] = []
    for name, estimate in evaluation.metrics.items():
        low = "" if estimate.low is None else formats.number(estimate.low)
        high = "" if estimate.high is None else formats.number(estimate.high)
        value = formats.number(estimate.value)
        title = formats.metric_title(name)
        rows.append((title, value, low, high, estimate.interval, estimate.rows))
    header = ("metric", "value", "at least", "at most", "95 % limits by", "rows")
    return Section("Metrics of the holdout", (), header, tuple(rows))


def _ood(ood: OodMetrics) -> str:
    line = f"The OOD score is 0 on {ood.zero} of {ood.rows} rows"
    if ood.auroc is not None:
        line += f", and tells them from {ood.noise_rows} of noise with an AUROC of {ood.auroc:.3f}"
    return f"{line}."


def _unknown(unknown: UnknownPredictions) -> str:
    line = f"{unknown.rows} rows are predicted as unknown"
    for unseen in unknown.unseen_values[:SHOWN_UNSEEN_VALUES]:
        line += f"; {unseen.rows} with {unseen.column} '{unseen.value}', unseen in training"
    hidden = len(unknown.unseen_values) - SHOWN_UNSEEN_VALUES
    if hidden > 0:
        line += f"; and {hidden} more values unseen in training"
    return f"{line}."


def _gate(verdict: Verdict) -> Section:
    rows = tuple(check_row(check) for check in verdict.checks)
    header = ("check", "value", "threshold", "outcome")
    return Section("Gate", (f"Verdict {verdict.id}.",), header, rows)


def check_row(check: CheckResult) -> Cells:
    """Return a check's name, value, threshold and outcome."""
    outcome = "passed" if check.passed else "FAILED"
    if check.note:
        outcome += f": {check.note}"
    return check.name, formats.number(check.value), formats.number(check.threshold), outcome


def _comparison(verdict: Verdict, comparison: Comparison | MetricComparison) -> Section:
    title = f"Comparison with {formats.opponent(verdict)}, on the same holdout rows"
    return Section(title, (), ("", ""), tuple(comparison_rows(comparison)))


def comparison_rows(comparison: Comparison | MetricComparison) -> Iterator[Cells]:
    """Yield name and value of every figure of a comparison."""
    for name, value in comparison:
        if name != "slices":
            yield name.replace("_", " "), formats.number(value)
    for part in comparison.slices:
        yield f"p worse on {part.slice}", formats.number(part.p_worse)


def _how_to_load(recipe: str, promotion: PromotionResult) -> Section:
    model = f"{recipe}@{promotion.version}"
    uri = f"models:/{recipe}/{promotion.version}"
    lines = (
        f"Version {promotion.version} of {recipe}, SHA-256 {promotion.digest}.",
        f"Score files: creche score FILES --model {model} --out FOLDER",
        f"In Python: creche.load_model('{model}'), mlflow.pyfunc.load_model('{uri}'), or its "
        "model.onnx in onnxruntime alone, whose inputs are the raw columns: [N, 1] each, of an "
        "image [N, height, width, channels].",
        f"Train it again: creche reproduce {model}",
    )
    return Section("How to load it", lines)
