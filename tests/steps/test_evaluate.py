import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from creche.places import EVALUATION_PLOT, HOLDOUT, Places
from creche.recipe import Recipe
from creche.steps.evaluate import calibration, evaluate, parity

CLASSES = ("a", "b", "c")


def test_interval_is_wilsons() -> None:
    actual, predicted = np.array(["a"] * 90 + ["b"] * 10), np.array(["a"] * 97 + ["c"] * 3)
    result = evaluate(actual, predicted, np.full((100, 3), 1 / 3), CLASSES)
    low, high = proportion_confint(90, 100, 0.05, method="wilson")
    assert (result["accuracy"], result["accuracy_low"], result["accuracy_high"]) == pytest.approx((0.9, low, high))


def test_class_without_rows_has_no_recall() -> None:
    result = evaluate(np.array(["a", "b"]), np.array(["a", "a"]), np.full((2, 3), 1 / 3), CLASSES)
    assert result["by_class"]["c"] == {"rows": 0, "precision": 0.0, "recall": None}
    assert result["by_class"]["a"] == {"rows": 1, "precision": 0.5, "recall": 1.0}
    assert result["confusion"] == [[1, 0, 0], [1, 0, 0], [0, 0, 0]]


def test_calibration_error_of_one_bin_is_its_gap() -> None:
    probabilities = np.array([[0.85, 0.15]] * 10)
    result = calibration(probabilities, np.array([0] * 6 + [1] * 4))
    assert result["expected_calibration_error"] == pytest.approx(0.25)
    assert result["calibration"][8] == {"rows": 10, "confidence": pytest.approx(0.85), "accuracy": 0.6}


def test_parity_counts_labels_that_differ_and_takes_nan_for_the_worst() -> None:
    reference = np.array([[0.9, 0.1], [0.2, 0.8]])
    assert parity(reference, reference) == {"largest_difference": 0.0, "labels_that_differ": 0}
    assert parity(np.array([[0.4, 0.6], [np.nan, np.nan]]), reference)["largest_difference"] == 1.0
    assert parity(np.array([[0.4, 0.6], [0.2, 0.8]]), reference)["labels_that_differ"] == 1


def test_penguins_are_told_apart(raised: tuple[Recipe, Places, dict[str, dict[str, float]]]) -> None:
    _, places, results = raised
    assert results["evaluate"]["accuracy"] >= 0.99
    assert results["evaluate"]["parity"]["largest_difference"] < 1e-5  # type: ignore[index]
    rows = (places / HOLDOUT).read_text().splitlines()
    assert rows[0] == "row,actual,predicted,probability_Adelie,probability_Chinstrap,probability_Gentoo"
    assert len(rows) - 1 == results["evaluate"]["rows"]
    assert (places / EVALUATION_PLOT).read_bytes().startswith(b"\x89PNG")
