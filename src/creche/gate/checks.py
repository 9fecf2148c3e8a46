"""The checks that every model must pass, each a value against a threshold.

A new check is one more entry of `run_checks`.
"""

from collections.abc import Iterator

from creche.gate.check import ADD_HOLDOUT_ROWS, Check
from creche.gate.metric_checks import metric_checks, precision_checks, recall_checks
from creche.gate.statistics import coverage_p_value
from creche.recipe import Gate
from creche.records import BehaviorResult, CheckResult, Evaluation

COVERAGE_ALPHA = 1e-3  # how rarely prediction sets that keep their promise fail the check
MAX_ZERO_OOD = 0.5  # fraction of the holdout; of sound scores about 0.01 are 0
SHOWN_MISMATCHES = 2  # in a message
SHOWN_VALUES = 3  # in a message


def run_checks(evaluation: Evaluation, gate: Gate) -> list[CheckResult]:
    """Return every check with its value and, where it failed, why.

    A class or slice without holdout rows fails its check, for nothing is known of it.

    Args:
        evaluation: of the model.
        gate: the thresholds.
    """
    groups = (
        accuracy_checks,
        recall_checks,
        precision_checks,
        metric_checks,
        slice_checks,
        unknown_checks,
        calibration_checks,
        coverage_checks,
        ood_checks,
        behavior_checks,
        parity_checks,
        golden_checks,
        batch_size_checks,
        size_checks,
        latency_checks,
    )
    results = []
    for group in groups:
        for check in group(evaluation, gate):
            results.append(check.result())
    return results


def accuracy_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    accuracy = evaluation.accuracy

    def explain() -> str:
        return f"accuracy {accuracy:.3f} is below its threshold {gate.accuracy:g}"

    yield Check("accuracy", accuracy, gate.accuracy, "min", explain)


def slice_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    for metrics in evaluation.slices:
        slice_name = f"{metrics.column} {metrics.value}"
        threshold = gate.slices[metrics.column]

        def explain(
            slice_name: str = slice_name,
            accuracy: float | None = metrics.accuracy,
            rows: int = metrics.rows,
            threshold: float = threshold,
        ) -> str:
            if accuracy is None:
                return (
                    f"the holdout has no row with {slice_name}, so nothing is known of them: "
                    f"{ADD_HOLDOUT_ROWS}"
                )
            return (
                f"accuracy is {accuracy:.1%} on the {rows} rows with {slice_name}, below the "
                f"threshold of {threshold:.1%}"
            )

        yield Check(f"accuracy on {slice_name}", metrics.accuracy, threshold, "min", explain)


def unknown_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    unknown = evaluation.unknown
    fraction = unknown.rows / evaluation.rows

    def explain() -> str:
        text = (
            f"{unknown.rows} of {evaluation.rows} holdout rows are predicted as unknown, more than "
            f"the {gate.max_unknown:.1%} allowed"
        )
        shown = [
            f"{unseen.column} '{unseen.value}' ({unseen.rows} rows)"
            for unseen in unknown.unseen_values[:SHOWN_VALUES]
        ]
        if shown:
            text += f": training has no row with {', '.join(shown)}"
        return text

    yield Check("unknown predictions", fraction, gate.max_unknown, "max", explain)


def calibration_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    threshold = gate.calibration_error
    if threshold is None:
        return
    error = evaluation.expected_calibration_error

    def explain() -> str:
        return (
            f"probabilities are off by {error:.1%} on average, more than the {threshold:.1%} "
            "allowed"
        )

    yield Check("calibration error", error, threshold, "max", explain)


def coverage_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    sets = evaluation.prediction_sets
    if not sets.calibration_rows:
        return
    p_value = coverage_p_value(sets.covered, evaluation.rows, sets.calibration_rows, sets.coverage)

    def explain() -> str:
        return (
            f"prediction sets hold the true class in {sets.covered} of {evaluation.rows} rows, "
            f"too few for a coverage of {sets.coverage:.0%} (p = {p_value:.1g})"
        )

    name = f"prediction sets cover {sets.coverage:.0%} (p-value)"
    yield Check(name, p_value, COVERAGE_ALPHA, "min", explain)


def ood_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    """Yield whether the OOD score is finite, above 0 on most holdout rows, and lower for noise."""
    ood = evaluation.ood

    def explain_not_finite() -> str:
        return f"the OOD score is no number on {ood.not_finite} of {ood.rows} holdout rows"

    yield Check("OOD scores not finite", ood.not_finite, 0, "max", explain_not_finite)

    def explain_zero() -> str:
        return (
            f"the OOD score is 0 on {ood.zero} of {ood.rows} holdout rows, as if they were unlike "
            "the training rows: it would say nothing of new observations"
        )

    zero = ood.zero / ood.rows if ood.rows else None
    yield Check("OOD scores of 0", zero, MAX_ZERO_OOD, "max", explain_zero)
    if ood.auroc is None:
        return
    auroc = ood.auroc

    def explain_auroc() -> str:
        return (
            f"the OOD score ranks holdout rows above noise with an AUROC of {auroc:.3f}, below "
            f"gate.ood_auroc {gate.ood_auroc:g}"
        )

    yield Check("OOD score against noise (AUROC)", auroc, gate.ood_auroc, "min", explain_auroc)


def behavior_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    for result in evaluation.behavior:

        def explain(result: BehaviorResult = result) -> str:
            if result.share is None:
                return f"behavior test '{result.name}' matches no holdout row: {ADD_HOLDOUT_ROWS}"
            return (
                f"behavior test '{result.name}' failed: {result.share:.1%} of {result.rows} rows "
                f"{result.expected}, not {result.threshold:.0%}"
            )

        yield Check(f"behavior: {result.name}", result.share, result.threshold, "min", explain)


def parity_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    parity = evaluation.parity
    if parity is None:
        return
    # A label that differs fails whatever the probabilities are.
    difference = parity.max_difference if not parity.label_mismatches else 1.0

    def explain() -> str:
        if parity.max_difference is None:
            return "the model file predicts no holdout row that torch predicts"
        return (
            f"the model file does not predict as torch does: {parity.label_mismatches} of "
            f"{parity.rows} labels differ, probabilities by up to {parity.max_difference:.2g}"
        )

    yield Check("parity with torch", difference, gate.parity_tolerance, "max", explain)


def golden_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    mismatches = evaluation.file.golden_mismatches

    def explain() -> str:
        shown = "; ".join(mismatches[:SHOWN_MISMATCHES])
        return f"in a fresh process it does not reproduce its golden rows: {shown}"

    yield Check("golden row mismatches", len(mismatches), 0, "max", explain)


def batch_size_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    difference = evaluation.file.batch_size_difference

    def explain() -> str:
        return f"the batch size changes its predictions, by up to {difference:.2g}"

    yield Check("difference between batch sizes", difference, gate.parity_tolerance, "max", explain)


def size_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    max_bytes = gate.max_bytes
    if max_bytes is None:
        return
    size = evaluation.file.bytes

    def explain() -> str:
        return f"its file has {size} bytes, more than the {max_bytes} allowed"

    yield Check("bytes of the file", size, max_bytes, "max", explain)


def latency_checks(evaluation: Evaluation, gate: Gate) -> Iterator[Check]:
    max_milliseconds = gate.max_milliseconds
    if max_milliseconds is None:
        return
    milliseconds = evaluation.file.latency_ms

    def explain() -> str:
        return f"one row takes {milliseconds:.3g} ms, more than the {max_milliseconds:g} allowed"

    yield Check("milliseconds per row", milliseconds, max_milliseconds, "max", explain)
