"""The verdict by a metric other than accuracy."""

import numpy as np
import pytest
from support.evaluations import evaluation

from creche.gate import Contributions, PairedMetric, compare_metric, decide
from creche.recipe import Gate, MetricName
from creche.records import MetricComparison

SLICES = {"island": 0.5}


def paired(difference: float, error: float, n: int = 400, low: float = 0.7) -> PairedMetric:
    """Return a difference whose standard error is known."""
    generator = np.random.default_rng(0)
    noise = generator.normal(size=n)
    noise -= noise.mean()
    noise *= error / np.sqrt(n / (n - 1) * (noise**2).sum())
    contributions = Contributions(difference, noise)
    swapped = generator.normal(0, error, 999)
    return PairedMetric(n, low + difference, low, contributions, contributions, swapped)


def verdict(
    result: PairedMetric,
    metric: MetricName = "macro_f1",
    new: bool = True,
    slices: dict[str, PairedMetric] | None = None,
) -> tuple[str, str, MetricComparison]:
    gate = Gate(primary=metric, margin=0.03, slices=SLICES)
    comparison = compare_metric(result, gate, new, slices)
    decision = decide(evaluation(), gate, comparison)
    return decision.verdict, decision.reason, comparison


def test_better_model_is_promoted() -> None:
    name, reason, comparison = verdict(paired(0.05, 0.01))
    assert name == "PROMOTE"
    assert reason == (
        "It is better than the champion: on 400 holdout rows its macro F1 is 0.75, and the "
        "champion's 0.7 (paired test by group, p = 0.001)."
    )
    assert comparison.difference_low == pytest.approx(0.05 - 1.65 * 0.01, abs=1e-4)


def test_worse_model_is_rejected() -> None:
    name, reason, _ = verdict(paired(-0.05, 0.01))
    assert name == "REJECT"
    assert reason.startswith("It is worse than the champion: on 400 holdout rows its macro F1 is")


def test_model_that_is_no_worse_is_promoted_where_it_knows_newer_groups() -> None:
    name, reason, _ = verdict(paired(0.0, 0.01))
    assert name == "PROMOTE"
    assert reason == (
        "It is no worse than the champion, and was trained on rows that the champion was not: on "
        "400 holdout rows its macro F1 is 0.7, and the champion's 0.7, so it may lie 0.0166 below "
        "at 95% confidence, within the margin of 0.03 (p = 0.0016)."
    )
    name, reason, _ = verdict(paired(0.0, 0.01), new=False)
    assert name == "INCONCLUSIVE"
    assert reason.endswith("a difference of 0.025 would have been shown 80% of the time.")


def test_holdout_that_cannot_tell_says_which_difference_it_would_have_shown() -> None:
    name, reason, _ = verdict(paired(0.0, 0.05), "log_loss")
    assert name == "INCONCLUSIVE"
    assert reason == (
        "This holdout cannot tell: on 400 holdout rows its log loss is 0.7, and the champion's "
        "0.7, so it may lie 0.0829 above at 95% confidence (p = 0.27 for a margin of 0.03); a "
        "difference of 0.125 would have been shown 80% of the time."
    )


def test_models_that_do_not_differ_have_no_detectable_difference() -> None:
    same = Contributions(0.0, np.zeros(30))
    result = PairedMetric(30, 0.9, 0.9, same, same, np.zeros(999))
    name, reason, comparison = verdict(result)
    assert name == "INCONCLUSIVE"
    assert comparison.minimum_detectable_difference is None
    assert comparison.difference_low is None
    assert "how much worse it may be cannot be said" in reason
    assert "which difference would have been shown cannot be said" in reason


def test_model_that_is_worse_on_one_slice_is_rejected() -> None:
    slices = {"island Dream": paired(-0.2, 0.02, 60), "island Biscoe": paired(0.0, 0.02, 60)}
    name, reason, _ = verdict(paired(0.0, 0.01), slices=slices)
    assert name == "REJECT"
    assert reason == (
        "It is worse than the champion on rows with island Dream: on 60 of them its macro F1 is "
        "0.5, and the champion's 0.7 (paired test by group, p = 0.001, 2 slices compared)."
    )
