"""The section of a recipe that says what a model must reach."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from creche.recipe.base import CategoryValue, RecipeSection, Share


class Shift(RecipeSection):
    """A change of a number: multiply it by `times`, then add `add`."""

    times: float = 1.0
    add: float = 0.0


class BehaviorTest(RecipeSection):
    """What a model must predict when holdout rows are changed in a stated way."""

    # Called so on the card and in messages.
    name: str
    # Only rows with these values: column → value.
    where: dict[str, CategoryValue] = Field(default_factory=dict)
    # Feature → the value that it gets, or a shift; of an image a shift, or `mirror`.
    change: Annotated[dict[str, CategoryValue | float | Shift], Field(min_length=1)]
    # `same` label as before, `unknown`, or a class.
    expect: CategoryValue
    # Share of the rows that must behave so, 0..1.
    share: Share = 1.0


class Gate(RecipeSection):
    """The thresholds of the checks, and how a challenger is compared with the champion."""

    # Least accuracy on the holdout, 0..1.
    accuracy: Share = 0.9
    # Least recall of every class, 0..1.
    recall: Share = 0.8
    # Column → least accuracy on the rows of each of its values, 0..1.
    slices: dict[str, Share] = Field(default_factory=dict)
    # Largest expected calibration error, 0..1.
    calibration_error: Share | None = None
    behavior: tuple[BehaviorTest, ...] = ()
    # Largest difference of a probability between torch and the model file.
    parity_tolerance: PositiveFloat = 1e-4
    # Largest size of the model file, bytes.
    max_bytes: PositiveInt | None = None
    # Longest time of a prediction of one row, median, on the machine that judges, milliseconds.
    max_milliseconds: PositiveFloat | None = None
    # The onnxruntime provider that the file is judged with.
    provider: str = "CPUExecutionProvider"
    # Accuracy that a challenger may lack and still count as no worse, 0..1.
    margin: Annotated[float, Field(ge=0, lt=1)] = 0.03
    # Level of the tests: the probability of calling a worse model no worse.
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    # What to do where the holdout cannot tell: keep the champion, or promote the challenger.
    inconclusive: Literal["keep", "promote"] = "keep"
