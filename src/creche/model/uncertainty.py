"""What a model says beside its label: how typical a row is, and which classes it cannot exclude.

OodDetector: the distance to the nearest class mean under one shared covariance, the
class-conditional Gaussian score of Lee et al. (2018, A Simple Unified Framework for Detecting
Out-of-Distribution Samples), told as the share of calibration rows that lie at least as far.
Prediction sets: split conformal (Papadopoulos et al., 2002; Vovk et al., 2005) with the threshold
rule of Sadinle, Lei and Wasserman (2019, Least Ambiguous Set-Valued Classifiers).

Calibration rows are those of the validation part, which the network is not fitted to; the holdout
is never among them.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

# The shares that ood_score can take, besides 0: fine where a row begins to look strange, coarse
# elsewhere.
LEVELS = (
    0.01,
    0.02,
    0.03,
    0.04,
    0.05,
    0.06,
    0.08,
    0.1,
    0.12,
    0.15,
    0.2,
    0.25,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    1.0,
)
RIDGE = 1e-3  # share of each variance added to it: columns of a one-hot code depend on each other


@dataclass(frozen=True)
class OodDetector:
    """Distances are of `(features - center) @ whitening` to the nearest row of `means`; all
    float32.
    """

    center: np.ndarray  # (width,)
    whitening: np.ndarray  # (width, width)
    means: np.ndarray  # (classes, width), whitened
    knots: (
        np.ndarray
    )  # (m,) squared distance that a share of LEVELS of the calibration rows reaches; descending

    @property
    def steps(self) -> np.ndarray:
        """What each knot that lies at least as far adds to the ood_score (m,)."""
        return np.diff(LEVELS, prepend=0.0).astype(np.float32)

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: np.ndarray, calibration: np.ndarray
    ) -> "OodDetector":
        """From training features (n, width) with labels (n,), and calibration features (m,
        width).
        """
        x = features.astype(np.float64)
        classes = range(int(labels.max()) + 1)
        means = np.stack([x[labels == k].mean(axis=0) for k in classes])  # (classes, width)
        within = x - means[labels]
        covariance = within.T @ within / len(x)
        spread = np.maximum(np.diag(covariance), RIDGE * x.var(axis=0) + 1e-12)
        values, vectors = np.linalg.eigh(covariance + RIDGE * np.diag(spread))
        whitening = vectors / np.sqrt(values)  # (width, width)
        center = x.mean(axis=0)
        parts = (center, whitening, (means - center) @ whitening, np.zeros(0))
        fitted = cls(*(p.astype(np.float32) for p in parts))
        knots = np.quantile(
            fitted.distance(calibration), 1 - np.array(LEVELS), method="inverted_cdf"
        )
        return replace(fitted, knots=knots.astype(np.float32))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Squared Mahalanobis distance (n,) of features (n, width) to the nearest class."""
        z = (features.astype(np.float32) - self.center) @ self.whitening
        squared: np.ndarray = ((z[:, None, :] - self.means) ** 2).sum(axis=2).min(axis=1)
        return squared

    def share(self, features: np.ndarray) -> np.ndarray:
        """OodDetector (n,), 0..1: the share of calibration rows that lie at least as far, rounded
        down to a level.
        """
        found: np.ndarray = (self.distance(features)[:, None] <= self.knots) @ self.steps
        return found


def conformal_threshold(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """The probability from which on a class belongs to the prediction set; 0 where too few rows can
    promise anything.

    With n calibration rows drawn as the new ones are, sets of all classes whose probability reaches
    it hold the true class with probability `coverage` at least. Probabilities (n, classes), labels
    (n,).
    """
    n = len(labels)
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        return 0.0
    of_truth = np.sort(probabilities[np.arange(n), labels])[::-1]
    return float(of_truth[rank - 1])


def prediction_sets(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    """Mask (n, classes) of the classes in each row's set: those that reach the threshold, and
    always the likeliest.
    """
    likeliest = probabilities.argmax(axis=1)[:, None] == np.arange(probabilities.shape[1])
    sets: np.ndarray = (probabilities >= np.float32(threshold)) | likeliest
    sets &= ~np.isnan(probabilities).any(axis=1, keepdims=True)
    return sets
