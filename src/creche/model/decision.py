"""The decision of a model file: by which factors the probabilities are weighted before the most
likely class is taken.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np

from creche.contract.json_types import Range, check_json

MIN_WEIGHT = 1e-6
MAX_WEIGHT = 1e6


@dataclass(frozen=True)
class DecisionWeights:
    """Weights of the classes, and what they were chosen for."""

    metric: str  # of the validation rows, that the weights are best for
    weights: dict[str, Annotated[float, Range(MIN_WEIGHT, MAX_WEIGHT)]]  # class → factor
    rows: int  # validation rows
    value: float  # of the metric there
    value_of_most_likely: float  # of the metric there, if each row were its most likely class

    @classmethod
    def from_dict(cls, value: Any) -> "DecisionWeights":
        """Return the section of a model file.

        Raises:
            ValueError: it is none.
        """
        check_json(value, cls, "the section")
        return cls(**value)

    def as_array(self, classes: tuple[str, ...]) -> np.ndarray:
        """Return the factors (classes,) in the order of the classes, float32 as in the graph."""
        return np.array([self.weights[name] for name in classes], np.float32)
