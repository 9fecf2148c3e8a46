"""How the OOD score ranks the holdout beside noise.

Noise is drawn column by column, independently and uniformly over a range around the training rows:
the reference distribution of Hastie, Tibshirani and Friedman (2009, The Elements of Statistical
Learning, section 14.2.4), widened so that a column's own range is a third of it. A row of noise is
unlike the training rows by the values of its columns and by their combination. An image of noise
has values of 0 and 255.
"""

from collections.abc import Mapping

import numpy as np

from creche.model.artifact import Model, Predictions
from creche.records import OodMetrics

NOISE_ROWS = 1000
NOISE_IMAGES = 200
SEED = 0


def ood_metrics(model: Model, predictions: Predictions) -> OodMetrics:
    """Return what the OOD scores of the holdout are worth.

    Args:
        model: the model file.
        predictions: of the holdout.
    """
    scores = predictions.ood_score[predictions.is_known]
    noise = noise_rows(model)
    noise_scores = np.zeros(0, np.float32)
    if noise:
        of_noise = model.predict(noise)
        noise_scores = of_noise.ood_score[of_noise.is_known]
    return OodMetrics(
        rows=len(scores),
        not_finite=int((~np.isfinite(scores)).sum()),
        zero=int((scores == 0).sum()),
        noise_rows=len(noise_scores),
        auroc=auroc(scores, noise_scores),
    )


def noise_rows(model: Model) -> Mapping[str, np.ndarray]:
    """Return rows of noise as the model's input arrays; empty where all columns are categories.

    Of a category nothing lies beyond what training saw but values that the model does not know.
    """
    columns = model.contract.columns
    if all(column.type.is_discrete for column in columns.values()):
        return {}
    rows = NOISE_IMAGES if model.contract.image_columns else NOISE_ROWS
    random = np.random.default_rng(SEED)
    statistics = model.metadata.statistics.columns
    noise = {}
    for name, column in columns.items():
        noise[name] = column.type.noise(column, statistics[name], rows, random)
    return noise


def auroc(scores: np.ndarray, noise_scores: np.ndarray) -> float | None:
    """Return the probability that a row has a higher score than noise, where equal ones count half.

    Args:
        scores: (n,).
        noise_scores: (m,).

    Returns:
        The area under the ROC curve, 0..1; None where one of the two is empty.
    """
    if not len(scores) or not len(noise_scores):
        return None
    ordered = np.sort(noise_scores)
    lower = np.searchsorted(ordered, scores, side="left")
    lower_or_equal = np.searchsorted(ordered, scores, side="right")
    return float((lower + lower_or_equal).mean() / (2 * len(ordered)))
