"""The progress of a training: a bar in the terminal, metrics in MLflow, and whoever observes it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

from tqdm import tqdm

from creche.recipe import Recipe
from creche.records import EpochMetrics, SplitReport
from creche.registry import TrackedRun

OnRows = Callable[[int], None]  # is given the rows that are done, over all epochs
OnProgress = Callable[[int, Mapping[str, float], EpochMetrics | None], None]


def total_rows(recipe: Recipe, split: SplitReport) -> int:
    """Return the rows of all epochs together."""
    rows = sum(split.train.values())
    return rows * recipe.training.repeat * recipe.training.epochs


@contextmanager
def training_progress(tracked_run: TrackedRun, total: int, on_rows: OnRows) -> Iterator[OnProgress]:
    """Yield a callback for the training that shows its progress and logs its metrics.

    Args:
        total: rows of all epochs together.
        on_rows: is called with the rows that are done, and with `total` at the end.
    """
    bar: tqdm[Any] = tqdm(
        total=total, desc="train", unit="row", unit_scale=True, disable=None, leave=False
    )

    def on_progress(
        rows: int, metrics: Mapping[str, float], epoch_metrics: EpochMetrics | None
    ) -> None:
        shown: dict[str, Any] = dict(metrics)
        if epoch_metrics is not None:
            shown |= epoch_metrics.model_dump(exclude={"batch_losses"})
        epoch = int(shown.pop("epoch"))
        if epoch_metrics is not None:
            # They are for display; the run's own record is the truth.
            with suppress(Exception):
                tracked_run.log_metrics(shown, epoch)
        texts = {name: f"{value:.4f}" for name, value in shown.items()}
        bar.set_postfix({"epoch": str(epoch), **texts}, refresh=False)
        bar.update(rows - bar.n)
        on_rows(rows)

    with bar:
        yield on_progress
    on_rows(total)
