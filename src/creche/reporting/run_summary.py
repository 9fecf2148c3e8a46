"""A run on one screen, as text."""

from collections.abc import Iterator

from creche.recipe import METRICS
from creche.records import (
    Evaluation,
    PromotionResult,
    RunRecord,
    SourceInfo,
    SplitReport,
    TrainingReport,
    ValidationReport,
    Verdict,
)
from creche.reporting import formats

SHOWN_REASONS = 4
DIGEST_LENGTH = 12  # hexadecimal digits


def summary_lines(run: RunRecord) -> list[str]:
    """Return a run on one screen; an unchanged one shows the run whose verdict still holds."""
    lines = [f"{run.state.upper()}  {run.message}", ""]
    for name, value in _entries(run):
        lines.append(f"  {name:<9} {value}")
    return lines


def _entries(run: RunRecord) -> Iterator[tuple[str, str]]:
    yield "run", f"{run.run_id} of recipe {run.recipe}"
    if run.unchanged_since_run_id:
        yield "last run", run.unchanged_since_run_id
    if run.source:
        yield "data", _data(run.source)
    if run.validation:
        yield from _rows(run.validation)
    if run.split:
        yield "split", _split(run.split)
    if run.training:
        yield "training", _training(run.training)
    if run.evaluation:
        yield "holdout", _holdout(run.evaluation)
        yield "recall", _recall(run.evaluation)
        if run.evaluation.metrics:
            yield "metrics", _metrics(run.evaluation)
    if run.verdict:
        yield "verdict", _verdict(run.verdict)
    if run.promotion:
        yield "model", _model(run.promotion)
    if run.seconds:
        seconds = [f"{name} {duration:g}" for name, duration in run.seconds.items()]
        yield "seconds", ", ".join(seconds)


def _data(source: SourceInfo) -> str:
    return f"{source.path}, version {source.version[:DIGEST_LENGTH]}"


def _rows(validation: ValidationReport) -> Iterator[tuple[str, str]]:
    counts = formats.row_counts(validation)
    yield "rows", f"{validation.rows} in, {counts}"
    for reason, rows in list(validation.reasons.items())[:SHOWN_REASONS]:
        yield "", f"{rows} × {reason}"
    more = len(validation.reasons) - SHOWN_REASONS
    if more > 0:
        yield "", f"… and {more} more reasons"


def _split(split: SplitReport) -> str:
    if split.folds:
        return f"{len(split.folds)} folds of {sum(split.train.values())} rows"
    parts = []
    for split_name, counts in split.by_split().items():
        parts.append(f"{split_name} {sum(counts.values())}")
    if split.left_out:
        parts.append(f"{split.left_out} left out, since their group has a newer row")
    return ", ".join(parts)


def _training(training: TrainingReport) -> str:
    epochs = f"{training.epochs} epochs on {training.device}"
    selected = f"{epochs}, epoch {training.selected_epoch} selected"
    if training.reused_from:
        return f"{selected}; trained by run {training.reused_from}"
    return selected


def _holdout(evaluation: Evaluation) -> str:
    interval = f"{evaluation.accuracy_low:.4f} to {evaluation.accuracy_high:.4f}"
    text = f"accuracy {evaluation.accuracy:.4f}, 95 % interval {interval}"
    if evaluation.folds is not None:
        text += f", out of fold on all {evaluation.rows} rows"
    return text


def _recall(evaluation: Evaluation) -> str:
    parts = []
    for name, metrics in evaluation.per_class.items():
        parts.append(f"{name} {formats.fraction(metrics.recall)} of {metrics.rows}")
    return ", ".join(parts)


def _metrics(evaluation: Evaluation) -> str:
    """Return the metrics of all classes, but for the accuracy, which has a line of its own."""
    parts = []
    for name in METRICS:
        estimate = evaluation.metrics.get(name)
        if estimate is not None and name != "accuracy":
            parts.append(f"{formats.metric_title(name)} {formats.number(estimate.value)}")
    return ", ".join(parts)


def _verdict(verdict: Verdict) -> str:
    against = f"against {formats.opponent(verdict)}"
    return f"{verdict.verdict} ({verdict.id}), {against}: {verdict.reason}"


def _model(promotion: PromotionResult) -> str:
    text = f"version {promotion.version}, digest {promotion.digest[:DIGEST_LENGTH]}"
    return f"{text}, champion" if promotion.is_champion else text
