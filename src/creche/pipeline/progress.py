"""The progress of a training: a bar in the terminal, metrics in MLflow, and whoever observes it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from creche.recipe import Recipe
from creche.records import EpochMetrics, SplitReport
from creche.registry import TrackedRun

if TYPE_CHECKING:
    # Importing it would import torch, which an unchanged run does not need.
    from creche.training.metrics import OnProgress

OnRows = Callable[[int], None]  # is given the rows that are done, over all epochs


def total_rows(recipe: Recipe, split: SplitReport) -> int:
    """Return the rows of all epochs together."""
    rows = sum(split.train.values())
    return rows * recipe.training.repeat * recipe.training.epochs


@contextmanager
def training_progress(
    tracked_run: TrackedRun, total: int, on_rows: OnRows
) -> "Iterator[OnProgress]":
    """Yield a callback for the training that shows its progress and logs its metrics.

    Args:
        total: rows of all epochs together.
        on_rows: is called with the rows that are done, and with `total` at the end.
    """
    bar: tqdm[Any] = tqdm(
        total=total, desc="train", unit="row", unit_scale=True, disable=None, leave=False
    )

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        shown: dict[str, Any] = dict(metrics)
        if epoch is not None:
            shown |= epoch.model_dump(exclude={"batch_losses"})
        epoch_number = int(shown.pop("epoch"))
        if epoch is not None:
            # They are for display; the run's own record is the truth.
            with suppress(Exception):
                tracked_run.log_metrics(shown, epoch_number)
        texts = {name: f"{value:.4f}" for name, value in shown.items()}
        bar.set_postfix({"epoch": str(epoch_number), **texts}, refresh=False)
        bar.update(rows - bar.n)
        on_rows(rows)

    with bar:
        yield on_progress
    on_rows(total)
