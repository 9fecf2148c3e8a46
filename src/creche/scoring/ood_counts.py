"""How many rows of a scoring are how far from the training data."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np


class OodRange(NamedTuple):
    """Neighboring ones of the levels that an OOD score can have, both ends included."""

    low: float
    high: float


# Of the levels of `creche.model.uncertainty`. The first two are below 0.05.
OOD_RANGES = (
    OodRange(0.0, 0.0),
    OodRange(0.01, 0.04),
    OodRange(0.05, 0.1),
    OodRange(0.12, 0.25),
    OodRange(0.3, 0.5),
    OodRange(0.6, 1.0),
)
# Between two levels, since the float32 of a level may lie on either side of it.
_EDGES = [(lower.high + upper.low) / 2 for lower, upper in pairwise(OOD_RANGES)]


def count_ood_scores(scores: np.ndarray) -> np.ndarray:
    """Return the rows (ranges,) whose OOD score lies in each of `OOD_RANGES`.

    Args:
        scores: (n,) float32; NaN where the row is predicted as unknown, which is in no range.
    """
    below = [int(np.count_nonzero(scores < edge)) for edge in _EDGES]
    known = int(np.count_nonzero(scores >= 0))
    return np.diff([0, *below, known])
