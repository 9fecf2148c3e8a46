"""Network, split and gate follow from rows and classes."""

import numpy as np
import pyarrow as pa
import pytest

from creche.profile.distinct import distinct_cells
from creche.profile.label import Label, infer_label
from creche.profile.relevance import SimpleModel
from creche.profile.training_settings import choose_gate, choose_training


def label_of(**rows: int) -> Label:
    cells = [name for name, count in rows.items() for _ in range(count)]
    return infer_label(distinct_cells("label", pa.array(cells)), None)


@pytest.mark.parametrize(
    ("rows", "classes", "folds"),
    [
        (200, {"a": 100, "b": 100}, 5),
        (1000, {"a": 980, "b": 20}, 5),
        (1000, {"a": 500, "b": 500}, None),
        (50_000, {"a": 990, "b": 10}, None),
    ],
)
def test_small_tables_and_rare_classes_are_cross_validated(
    rows: int, classes: dict[str, int], folds: int | None
) -> None:
    label = label_of(**classes)
    groups = np.arange(sum(classes.values()))
    assert choose_training(rows, label, groups).folds == folds


def test_few_groups_of_a_class_are_cross_validated() -> None:
    label = label_of(a=500, b=500)
    assert choose_training(1000, label, np.arange(1000) // 50).folds == 5


@pytest.mark.parametrize("rows", [50, 1000, 30_000, 1_000_000, 10_000_000])
def test_training_is_bounded_however_long_the_table_is(rows: int) -> None:
    label = label_of(a=500, b=500)
    training = choose_training(rows, label, np.arange(1000))
    steps = 0.6 * rows / training.batch_size
    assert steps * training.epochs <= 20_000
    assert 5 <= training.epochs <= 150
    assert 32 <= training.batch_size <= 8192


def test_gate_lies_between_a_constant_prediction_and_a_simple_model() -> None:
    label = label_of(a=600, b=400)
    gate = choose_gate(label, SimpleModel(1000, 0.9, 0.9, 0.6, 0.375), 1000, is_split=True)
    assert gate.accuracy == 0.75
    assert not gate.is_imbalanced
    assert gate.warning is None


def test_gate_of_rare_classes_asks_for_macro_f1() -> None:
    label = label_of(a=970, b=30)
    gate = choose_gate(label, SimpleModel(1000, 0.98, 0.8, 0.97, 0.49), 1000, is_split=True)
    assert gate.macro_f1 is not None
    assert 0.49 < gate.macro_f1 < 0.8
    assert gate.accuracy < 0.97


def test_columns_that_say_nothing_of_the_label_are_a_warning() -> None:
    label = label_of(a=600, b=400)
    gate = choose_gate(label, SimpleModel(1000, 0.61, 0.4, 0.6, 0.375), 1000, is_split=True)
    assert "hardly predict the label" in str(gate.warning)
    assert gate.accuracy < 0.61
