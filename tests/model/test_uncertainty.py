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


def dead_units(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return 64 units of a layer behind a ReLU, of which most are 0 on every row, and labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, 900)
    embedding = 4000 * random.normal(size=(900, 64)) @ random.normal(size=(64, 64))
    embedding[:, random.permutation(64)[17:]] = -1
    return np.maximum(embedding, 0).astype(np.float32), labels


ROWS = np.arange(900)[:, None]
CONSTANT = np.full((900, 1), 0.1, np.float32)
COLUMNS_THAT_SAY_NOTHING = {
    "one dead unit": np.zeros((900, 1), np.float32),
    "constant": CONSTANT,
    "large constant": 1e30 * CONSTANT,
    "constant but for the last bit": np.where(
        ROWS % 2, CONSTANT, np.nextafter(CONSTANT, np.float32(1))
    ),
    "tiny": 1e-40 * CONSTANT * ROWS,
    "none": np.zeros((900, 0), np.float32),
}


@pytest.mark.parametrize("name", COLUMNS_THAT_SAY_NOTHING)
@pytest.mark.parametrize("seed", range(5))
def test_dead_units_and_constant_columns_leave_the_score_sound(seed: int, name: str) -> None:
    embedding, labels = dead_units(seed)
    x = np.hstack([embedding, COLUMNS_THAT_SAY_NOTHING[name]]).astype(np.float32)
    detector = OodDetector.fit(x[:500], labels[:500], x[500:700])
    for array in (detector.center, detector.whitening, detector.means, detector.knots):
        assert np.isfinite(array).all()
    scores = ood_scores(detector, x[700:])
    # A p-value of rows like the calibration rows, rounded down to a level.
    assert scores.mean() == pytest.approx(0.45, abs=0.1)
    assert (ood_scores(detector, x[700:] + 500_000 * (x[700:] > 0)) == 0).mean() > 0.9


def test_constant_columns_do_not_change_the_distance() -> None:
    x, y = random_rows(0)
    with_constants = np.hstack([x, np.full((600, 2), [0, 0.1], np.float32)])
    detector = OodDetector.fit(with_constants, y, with_constants)
    expected = OodDetector.fit(x, y, x)
    np.testing.assert_allclose(detector.distance(with_constants), expected.distance(x), rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e20])
def test_score_does_not_depend_on_the_units_of_a_column(scale: float) -> None:
    x, y = random_rows(0)
    factors = np.float32([1, 1, 1, scale])
    detector = OodDetector.fit(x * factors, y, x * factors)
    expected = OodDetector.fit(x, y, x)
    np.testing.assert_allclose(detector.distance(x * factors), expected.distance(x), rtol=1e-4)


def test_class_without_training_rows_is_no_mean() -> None:
    x, y = random_rows(0)
    known = y != 1
    detector = OodDetector.fit(x[known], y[known], x[known])
    assert np.isfinite(detector.distance(x)).all()
    assert len(detector.means) == 2


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
