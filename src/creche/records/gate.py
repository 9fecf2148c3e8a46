"""Records of the gate and of the promotion (`verdict.json`, `promotion.json`)."""

from typing import Literal

from creche.records.base import Record

VerdictName = Literal["PROMOTE", "REJECT", "INCONCLUSIVE"]
PROMOTE: Literal["PROMOTE"] = "PROMOTE"
REJECT: Literal["REJECT"] = "REJECT"
INCONCLUSIVE: Literal["INCONCLUSIVE"] = "INCONCLUSIVE"


class CheckResult(Record):
    """One check of a metric against its threshold."""

    name: str
    value: float | None  # None: the holdout has no row to measure it on, so the check fails
    threshold: float
    direction: Literal[
        "min", "max"
    ]  # whether the threshold is the least or the largest value that passes
    passed: bool
    message: str | None  # why it failed
    note: str | None = None  # what limits the value: few rows


class SliceComparison(Record):
    slice: str
    rows: int
    gained: int
    lost: int
    p_worse: float


class Comparison(Record):
    """Challenger and champion on the same holdout rows."""

    rows: int
    challenger_accuracy: float
    champion_accuracy: float
    gained: int  # rows that the challenger alone predicts correctly
    lost: int  # rows that the champion alone predicts correctly
    difference: float  # of the accuracies, challenger less champion
    difference_low: float  # lower one-sided confidence limit at 1 - alpha
    p_worse: float  # exact McNemar
    p_better: float  # exact McNemar
    p_inferior: float  # exact unconditional test of the margin
    minimum_detectable_difference: float
    # The challenger was trained on groups that the champion was not.
    has_new_training_groups: bool
    slices: list[SliceComparison]


class MetricSliceComparison(Record):
    slice: str
    rows: int
    challenger: float
    champion: float
    p_worse: float


class MetricComparison(Record):
    """Challenger and champion on the same holdout rows, by a metric other than accuracy."""

    metric: str
    direction: Literal["max", "min"]  # whether the largest or the smallest value is the best
    rows: int
    groups: int
    challenger: float  # value of the metric
    champion: float
    difference: float  # above 0 where the challenger is better, in the unit of the metric
    # Lower one-sided confidence limit at 1 - alpha; None: the groups do not show it.
    difference_low: float | None
    p_worse: float  # t-test and permutation test, the larger one
    p_better: float
    p_inferior: float  # t-test of the margin
    minimum_detectable_difference: float | None  # None: it cannot be said
    # The challenger was trained on groups that the champion was not.
    has_new_training_groups: bool
    slices: list[MetricSliceComparison]


class ChampionReference(Record):
    version: str
    digest: str


class Verdict(Record):
    """The gate's decision on one model, with all that it rests on."""

    format: Literal[2] = 2
    id: str  # start of the SHA-256 of the rest
    recipe: str
    digest: str  # of the challenger's file
    holdout_digest: str
    champion: ChampionReference | None  # that it was compared with
    verdict: VerdictName
    reason: str
    checks: list[CheckResult]
    comparison: Comparison | MetricComparison | None


class PromotionResult(Record):
    """What became of the judged model in the registry."""

    format: Literal[1] = 1
    version: str
    digest: str
    is_champion: bool
    verdict_id: str
