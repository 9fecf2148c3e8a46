"""The outputs of a model file: their names, element types, shapes and meaning.

This module is the only declaration of them. The contract states the inputs of a model, and this
module its outputs; it is beside the contract because a recipe may not use these names for its
features.
"""

from dataclasses import dataclass
from typing import Literal

LABEL = "label"
PROBABILITIES = "probabilities"
OOD_SCORE = "ood_score"
PREDICTION_SET = "prediction_set"


@dataclass(frozen=True)
class Output:
    """One output of a model file, for N rows and K classes."""

    name: str
    element_type: Literal["string", "float32", "bool"]
    shape: tuple[Literal["N", "K"], ...]
    meaning: str

    @property
    def is_per_class(self) -> bool:
        """Whether a row has one value for each class."""
        return "K" in self.shape


OUTPUTS = (
    Output(
        LABEL,
        "string",
        ("N",),
        "the class, the most likely one unless the recipe states a decision, or `unknown`",
    ),
    Output(
        PROBABILITIES,
        "float32",
        ("N", "K"),
        "of each class, in the order of the classes; NaN where the row is unknown",
    ),
    Output(
        OOD_SCORE,
        "float32",
        ("N",),
        "share of calibration rows at least as far from the training data, 0 to 1; NaN where the "
        "row is unknown",
    ),
    Output(
        PREDICTION_SET,
        "bool",
        ("N", "K"),
        "whether each class belongs to the prediction set; none does where the row is unknown",
    ),
)
OUTPUT_NAMES = tuple(output.name for output in OUTPUTS)
