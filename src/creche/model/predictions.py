"""The predictions of a model for n rows."""

from dataclasses import dataclass

import numpy as np

from creche.contract import UNKNOWN

MAX_INT8_CLASSES = 127  # with `unknown` as one more code


@dataclass(frozen=True)
class Predictions:
    """What a model predicts for n rows."""

    probabilities: np.ndarray  # (n, classes) float32; NaN where the row is unknown
    ood_score: np.ndarray  # (n,) float32, 0..1; NaN where the row is unknown
    sets: np.ndarray  # (n, classes) bool
    classes: tuple[str, ...]
    # (classes,) float32: factors of the probabilities by which the class is decided on; None: the
    # most likely class is taken.
    weights: np.ndarray | None = None

    @property
    def codes(self) -> np.ndarray:
        """The index (n,) of the class that is decided on, or the number of classes where the row
        is unknown.
        """
        code_type = np.int8 if len(self.classes) < MAX_INT8_CLASSES else np.int32
        probabilities = self.probabilities
        if self.weights is not None:
            # The same products in float32 as in the graph.
            probabilities = probabilities * self.weights
        highest, *others = probabilities.T
        most_likely: np.ndarray = np.zeros(len(highest), code_type)
        # Class by class, since that runs along memory; of equals the first, as ArgMax has it.
        for code, probability in enumerate(others, 1):
            most_likely[probability > highest] = code
            highest = np.maximum(highest, probability)
        most_likely[np.isnan(self.ood_score)] = len(self.classes)
        return most_likely

    @property
    def is_known(self) -> np.ndarray:
        """The mask (n,) of the rows that have a prediction: their probabilities are numbers."""
        mask: np.ndarray = ~np.isnan(self.probabilities).any(axis=1)
        return mask

    @property
    def labels(self) -> np.ndarray:
        """The label (n,), as the graph's own output has it."""
        labels: np.ndarray = np.array([*self.classes, UNKNOWN], dtype=object)[self.codes]
        return labels
