"""How far a row lies from the training data, and which classes cannot be excluded for it.

OOD score: the squared distance to the nearest class mean under one shared covariance, the
class-conditional Gaussian score of Lee et al. (2018, A Simple Unified Framework for Detecting
Out-of-Distribution Samples), stated as the share of calibration rows that lie at least as far.
Prediction sets: split conformal (Papadopoulos et al., 2002; Vovk et al., 2005) with the threshold
rule of Sadinle, Lei and Wasserman (2019, Least Ambiguous Set-Valued Classifiers).

Calibration rows are those of the validation part, which the network is not fitted to; the holdout
is never among them.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

# The shares that ood_score can be, besides 0: fine where a row is hardly like the training data,
# coarse elsewhere.
LEVELS = (
    *(0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.08, 0.1, 0.12, 0.15),
    *(0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
)
# Fraction of each variance that is added to it: columns of a one-hot encoding depend on each other.
RIDGE = 1e-3
# A column whose values differ by less is taken as constant: it cannot be scaled in float32.
MIN_SPREAD = 1e-30


@dataclass(frozen=True)
class OodDetector:
    """Distances are of `(features - center) @ whitening` to the nearest row of `means`.

    All arrays are float32.
    """

    center: np.ndarray  # (width,)
    whitening: np.ndarray  # (width, width)
    means: np.ndarray  # (classes of training rows, width), whitened
    # (m,) squared distances that a share of LEVELS of the calibration rows reaches, descending
    knots: np.ndarray

    @property
    def steps(self) -> np.ndarray:
        """What each knot that lies at least as far adds to the score (m,)."""
        return np.diff(LEVELS, prepend=0.0).astype(np.float32)

    @classmethod
    def fit(
        cls, features: np.ndarray, labels: np.ndarray, calibration: np.ndarray
    ) -> "OodDetector":
        """Return the detector fitted on training rows.

        Args:
            features: of the training rows (n, width).
            labels: class indices of the training rows (n,).
            calibration: features of the calibration rows (m, width).
        """
        x = features.astype(np.float64)
        classes, class_of_row = np.unique(labels, return_inverse=True)
        means = np.stack([x[labels == index].mean(axis=0) for index in classes])
        center = x.mean(axis=0)
        whitening = _whitening(x, x - means[class_of_row])
        uncalibrated = cls(
            center=center.astype(np.float32),
            whitening=whitening.astype(np.float32),
            means=((means - center) @ whitening).astype(np.float32),
            knots=np.zeros(0, np.float32),
        )
        distances = uncalibrated.distance(calibration)
        knots = np.quantile(distances, 1 - np.array(LEVELS), method="inverted_cdf")
        return replace(uncalibrated, knots=knots.astype(np.float32))

    def distance(self, features: np.ndarray) -> np.ndarray:
        """Return squared Mahalanobis distances (n,) of features (n, width) to the nearest class."""
        whitened = (features.astype(np.float32) - self.center) @ self.whitening
        to_means = ((whitened[:, None, :] - self.means) ** 2).sum(axis=2)  # (n, classes)
        nearest: np.ndarray = to_means.min(axis=1)
        return nearest


def _whitening(x: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Return the matrix (width, width) after which the covariance within the classes is the
    identity, less the ridge.

    A column that is constant in training, such as a dead unit, says nothing of a distance: its
    row of the matrix is 0. The others are scaled to variance 1 first. Their correlation matrix has
    no negative eigenvalues and the ridge is a multiple of the identity, so that whatever the scales
    and however the columns depend on each other, no eigenvalue is below the ridge.

    Args:
        x: training rows (n, width), float64.
        within: the same less the mean of their class (n, width).
    """
    # The computed variance of a constant column need not be 0.
    is_constant = np.ptp(x, axis=0) < MIN_SPREAD
    scales = np.sqrt(np.maximum((within**2).mean(axis=0), RIDGE * x.var(axis=0)))
    inverse_scales = np.where(is_constant, 0.0, 1 / np.where(is_constant, 1.0, scales))
    scaled = within * inverse_scales
    correlation = scaled.T @ scaled / len(scaled)
    regularized = correlation + RIDGE * np.eye(len(scales))
    eigenvalues, eigenvectors = np.linalg.eigh(regularized)
    # Rounding may take an eigenvalue a little below the ridge.
    root = np.sqrt(np.maximum(eigenvalues, RIDGE))
    whitening: np.ndarray = inverse_scales[:, None] * eigenvectors / root
    return whitening


def conformal_threshold(probabilities: np.ndarray, labels: np.ndarray, coverage: float) -> float:
    """Return the probability from which on a class belongs to the prediction set.

    With n calibration rows drawn as the new ones are, sets of all classes whose probability reaches
    it hold the true class with probability `coverage` at least. It is 0 where n is too small for
    that.

    Args:
        probabilities: of the calibration rows (n, classes).
        labels: their class indices (n,).
        coverage: 0..1.
    """
    n = len(labels)
    rank = math.ceil((n + 1) * coverage)
    if rank > n:
        return 0.0
    of_true_class = np.sort(probabilities[np.arange(n), labels])[::-1]
    return float(of_true_class[rank - 1])
