"""Learning-rate schedule and batches."""

import pytest

from creche.recipe import Training
from creche.training.schedule import BatchSchedule, learning_rate


def test_learning_rate_rises_and_falls() -> None:
    training = Training(schedule="one-cycle", learning_rate=1.0, warm_up=0.25)
    rates = [learning_rate(training, step, 8) for step in range(8)]
    assert rates == pytest.approx([0.5, 1, 1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])


@pytest.mark.parametrize(
    ("batch_size", "expected"),
    [
        (20, BatchSchedule(n_rows=120, batch_size=20, n_batches=6, n_steps=18)),
        (50, BatchSchedule(n_rows=120, batch_size=50, n_batches=3, n_steps=9)),
        ("full", BatchSchedule(n_rows=120, batch_size=120, n_batches=1, n_steps=3)),
    ],
)
def test_epoch_is_divided_into_batches(batch_size: object, expected: BatchSchedule) -> None:
    training = Training(batch_size=batch_size, repeat=2, epochs=3)
    assert BatchSchedule.of(60, training) == expected
