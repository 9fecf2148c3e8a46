"""The section of a recipe that says what a model must reach."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from creche.recipe.base import CategoryValue, Fraction, RecipeSection
from creche.recipe.metrics import MetricName

SAME_LABEL = "same"  # expected by an invariance test
MIRROR = "mirror"  # the change of an image into its mirror image


class LinearPerturbation(RecipeSection):
    """A perturbation of a number, or of every pixel: multiply it by `times`, then add `add`."""

    # Factor.
    times: float = 1.0
    # Summand, in the unit of the column.
    add: float = 0.0


Change = CategoryValue | float | LinearPerturbation | None


class BehaviorTest(RecipeSection):
    """What a model must predict when holdout rows are changed in a stated way.

    An invariance test expects the `same` label, a directional expectation test a certain one.
    Ribeiro et al., 2020, Beyond Accuracy: Behavioral Testing of NLP Models with CheckList.
    """

    # Called so on the card and in messages.
    name: str
    # Only rows with these values: column → value.
    where: dict[str, CategoryValue] = Field(default_factory=dict)
    # Feature → the value that it gets, null for a missing one, or `times` and `add`; of an image
    # these, or `mirror`.
    change: Annotated[dict[str, Change], Field(min_length=1)]
    # `same` label as before, `unknown`, or a class.
    expect: CategoryValue
    # Fraction of the rows that must behave so, 0..1.
    share: Fraction = 1.0


class Gate(RecipeSection):
    """The thresholds of the checks, and how a challenger is compared with the champion."""

    # Least accuracy on the holdout, 0..1.
    accuracy: Fraction = 0.9
    # Least recall of every class, 0..1. Above 0, a class that the holdout lacks fails; 0 asks
    # nothing of a class.
    recall: Fraction = 0.8
    # Least precision of every class, 0..1.
    precision: Fraction | None = None
    # Metric → its least value, or the largest one where less is better (log_loss, brier_score,
    # expected_cost).
    metrics: dict[MetricName, float] = Field(default_factory=dict)
    # Column → least accuracy on the rows of each of its values, 0..1; those without a value are a
    # slice of their own, where they are allowed.
    slices: dict[str, Fraction] = Field(default_factory=dict)
    # Largest fraction of holdout rows that are predicted as `unknown`, 0..1: as many as may be
    # quarantined by default. Each of them counts as wrong in the accuracy too.
    max_unknown: Fraction = 0.05
    # Largest expected calibration error, 0..1.
    calibration_error: Fraction | None = None
    # Tests with changed holdout rows.
    behavior: tuple[BehaviorTest, ...] = ()
    # Least area under the ROC curve by which ood_score tells holdout rows from noise, 0..1; 0.5 is
    # chance, and 0 accepts every score.
    ood_auroc: Fraction = 0.5
    # Largest difference of a probability between torch and the model file.
    parity_tolerance: PositiveFloat = 1e-4
    # Largest size of the model file, bytes.
    max_bytes: PositiveInt | None = None
    # Longest time of a prediction of one row, median, on the machine that judges, milliseconds.
    max_milliseconds: PositiveFloat | None = None
    # The onnxruntime provider that the file is judged with.
    provider: str = "CPUExecutionProvider"
    # The metric by which a challenger is compared with the champion.
    primary: MetricName = "accuracy"
    # What a challenger may lack of the primary metric and still count as no worse, in the unit of
    # that metric: of accuracy 0..1.
    margin: Annotated[float, Field(ge=0)] = 0.03
    # Level of the tests: the probability of calling a worse model no worse.
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    # What to do where the holdout cannot tell: keep the champion, or promote the challenger.
    inconclusive: Literal["keep", "promote"] = "keep"
