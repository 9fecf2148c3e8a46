"""The OOD score and the prediction sets in numpy: the reference for those of the ONNX graph."""

import numpy as np

from creche.model.uncertainty import OodDetector


def ood_scores(detector: OodDetector, features: np.ndarray) -> np.ndarray:
    """Return the fraction (n,), 0..1, of calibration rows that lie at least as far, rounded down to
    a level.
    """
    is_within = detector.distance(features)[:, None] <= detector.knots  # (n, m)
    scores: np.ndarray = is_within @ detector.steps
    return scores


def prediction_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Return the mask (n, classes) of the classes in each row's set.

    They are those that reach the threshold, and always the most likely one; none where the row is
    unknown.
    """
    class_indices = np.arange(probabilities.shape[1])
    is_most_likely = probabilities.argmax(axis=1)[:, None] == class_indices
    sets: np.ndarray = (probabilities >= np.float32(threshold)) | is_most_likely
    sets &= ~np.isnan(probabilities).any(axis=1, keepdims=True)
    return sets
