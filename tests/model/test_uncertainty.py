"""OOD score and prediction sets, against scipy and by simulation."""

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.stats import binomtest
from support.uncertainty import ood_scores, prediction_sets

from creche.model.uncertainty import LEVELS, OodDetector, conformal_threshold


def random_rows(seed: int, rows: int = 600) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    labels = random.integers(0, 3, rows)
    return (random.normal(size=(rows, 4)) + 4 * np.eye(3, 4)[labels]).astype(np.float32), labels


def test_distance_is_scipys_mahalanobis_to_the_nearest_class() -> None:
    x, y = random_rows(0)
    detector = OodDetector.fit(x, y, x)
    means = [x[y == k].mean(axis=0) for k in range(3)]
    inverse = np.linalg.inv(np.cov((x - np.array(means)[y]).T, bias=True))
    expected = [min(mahalanobis(row, m, inverse) ** 2 for m in means) for row in x[:50]]
    assert detector.distance(x[:50]) == pytest.approx(expected, rel=0.01)


def test_score_of_new_rows_is_about_as_stated() -> None:
    x, y = random_rows(0)
    detector = OodDetector.fit(x, y, random_rows(1)[0])
    scores = ood_scores(detector, random_rows(2, 5000)[0])
    for level in (0.05, 0.2, 0.5):
        assert (scores < level).mean() == pytest.approx(level, abs=0.05)
    assert set(scores.round(4)) <= {0.0, *np.float32(LEVELS).round(4)}


def test_row_far_from_all_classes_has_score_zero() -> None:
    x, y = random_rows(0)
    detector = OodDetector.fit(x, y, x)
    assert ood_scores(detector, np.full((1, 4), 50, np.float32)) == 0


def test_dependent_columns_do_not_break_the_distance() -> None:
    x, y = random_rows(0)
    one_hot = np.eye(3, dtype=np.float32)[y]
    detector = OodDetector.fit(np.hstack([x, one_hot]), y, np.hstack([x, one_hot]))
    assert np.isfinite(detector.distance(np.hstack([x, one_hot]))).all()


def test_sets_hold_the_true_class_as_often_as_stated() -> None:
    random = np.random.default_rng(0)
    covered = total = 0
    for _ in range(200):
        probabilities = random.dirichlet([1, 1, 1], 160).astype(np.float32)
        labels = np.array([random.choice(3, p=p / p.sum()) for p in probabilities.astype(float)])
        threshold = conformal_threshold(probabilities[:60], labels[:60], 0.9)
        sets = prediction_sets(probabilities[60:], threshold)
        covered += int(sets[np.arange(100), labels[60:]].sum())
        total += 100
    assert binomtest(covered, total, 0.9, "less").pvalue > 0.001
    assert covered / total < 0.95


def test_too_few_rows_give_sets_of_all_classes() -> None:
    assert conformal_threshold(np.full((5, 2), 0.5), np.zeros(5, int), 0.9) == 0.0


def test_set_is_never_empty_for_a_known_row() -> None:
    sets = prediction_sets(np.array([[0.4, 0.35, 0.25], [np.nan] * 3], np.float32), 0.9)
    assert sets.tolist() == [[True, False, False], [False, False, False]]
