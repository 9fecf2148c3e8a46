"""Plots as PNG files. The same numbers give the same bytes."""

import base64
from collections.abc import Sequence
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from creche.records import CalibrationBin, EpochMetrics, Evaluation
from creche.registry import RecordedVerdict

SHOWN_MISTAKES = 18  # images
IMAGES_PER_ROW = 6
DPI = 110
MARKERS = {
    "PROMOTE": ("^", "C2"),
    "INCONCLUSIVE": ("o", "C7"),
    "REJECT": ("v", "C3"),
}  # shape, color


def training_curves(history: list[EpochMetrics], monitored: str, path: Path) -> None:
    """Plot the training and validation loss, and the validation accuracy, by epoch.

    Args:
        monitored: the split that the validation metrics are of.
    """
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    epochs = [metrics.epoch for metrics in history]
    losses.plot(epochs, [metrics.loss for metrics in history], label="training")
    losses.plot(epochs, [metrics.val_loss for metrics in history], label=monitored)
    losses.set(title="Loss", xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    losses.legend()
    accuracy.plot(epochs, [metrics.val_accuracy for metrics in history], color="C1")
    accuracy.set(
        title=f"Accuracy on the {monitored} rows", xlabel="epoch", ylabel="accuracy", ylim=(0, 1.02)
    )
    _save(figure, path)


def evaluation(metrics: Evaluation, path: Path) -> None:
    """Plot the confusion matrix, and the reliability diagram of the probabilities."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    confusion_axes, reliability_axes = figure.subplots(1, 2)
    _plot_confusion(confusion_axes, np.array(metrics.confusion_matrix), metrics.classes)
    _plot_reliability(reliability_axes, metrics.calibration_bins, metrics.rows)
    _save(figure, path)


def _plot_confusion(axes: Axes, matrix: np.ndarray, classes: list[str]) -> None:
    axes.imshow(matrix, cmap="Blues")
    for row, column in np.ndindex(*matrix.shape):
        is_dark = matrix[row, column] > matrix.max() / 2
        color = "white" if is_dark else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=color)
    ticks = range(len(classes))
    axes.set(
        title="Confusion matrix, holdout rows",
        xticks=ticks,
        yticks=ticks,
        xlabel="predicted",
        ylabel="true",
    )
    axes.set_xticklabels(classes, rotation=45, ha="right")
    axes.set_yticklabels(classes)


def _plot_reliability(axes: Axes, bins: list[CalibrationBin], rows: int) -> None:
    filled = [each for each in bins if each.rows]
    axes.plot([0, 1], [0, 1], color="gray", linewidth=1)
    confidence = np.array([each.confidence for each in filled], float)
    accuracy = np.array([each.accuracy for each in filled], float)
    # The area of a point grows with its rows.
    areas = np.array([20 + 200 * each.rows / rows for each in filled])
    axes.scatter(confidence, accuracy, s=areas)
    axes.set(
        title="Calibration: the diagonal is perfect",
        xlabel="predicted probability",
        ylabel="accuracy",
        xlim=(0, 1.05),
        ylim=(0, 1.05),
    )


def mistakes(pixels: np.ndarray, rows: pd.DataFrame, path: Path) -> None:
    """Plot the wrongly predicted images with the highest probabilities, with both labels.

    Args:
        pixels: all holdout images (n, height, width, channels).
        rows: the holdout rows with their predictions, as `holdout.csv` has them.
    """
    probability = rows.filter(like="probability_").max(axis=1).to_numpy()
    wrong = np.flatnonzero((rows["actual"] != rows["predicted"]).to_numpy())
    most_confident_first = wrong[np.argsort(-probability[wrong], kind="stable")]
    shown = most_confident_first[:SHOWN_MISTAKES]
    grid_rows = max(1, -(-len(shown) // IMAGES_PER_ROW))
    figure = Figure(figsize=(9, 0.3 + 1.7 * grid_rows), layout="constrained")
    grid = np.atleast_1d(figure.subplots(grid_rows, IMAGES_PER_ROW)).ravel()
    for axes in grid:
        axes.set_axis_off()
    for axes, index in zip(grid, shown, strict=False):
        row = rows.iloc[int(index)]
        axes.imshow(pixels[index].squeeze(), cmap="gray")
        title = (
            f"{row['predicted']} {probability[index]:.0%}\nis {row['actual']} (row {row['row']})"
        )
        axes.set_title(title, fontsize=8)
    if not len(shown):
        grid[0].text(0, 0.5, "none: every holdout image is predicted correctly")
    _save(figure, path)


def accuracy_over_time(verdicts: Sequence[RecordedVerdict]) -> bytes:
    """Return a plot of the holdout accuracy of every recorded verdict, as PNG."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, (marker, color) in MARKERS.items():
        of_name = [verdict for verdict in verdicts if verdict.verdict == name]
        if not of_name:
            continue
        accuracy = [verdict.accuracy for verdict in of_name]
        below = [verdict.accuracy - verdict.accuracy_low for verdict in of_name]
        above = [verdict.accuracy_high - verdict.accuracy for verdict in of_name]
        times: Any = [verdict.time for verdict in of_name]
        axes.errorbar(
            times,
            accuracy,
            [below, above],
            fmt=marker,
            color=color,
            elinewidth=1,
            capsize=3,
            label=name,
        )
    _set_time_axis(axes, verdicts)
    axes.set(
        title="Holdout accuracy of every verdict, with its 95 % interval",
        xlabel="time (UTC)",
        ylabel="accuracy",
    )
    axes.legend()
    buffer = BytesIO()
    _save(figure, buffer)
    return buffer.getvalue()


def _set_time_axis(axes: Axes, verdicts: Sequence[RecordedVerdict]) -> None:
    first = min(verdict.time for verdict in verdicts)
    last = max(verdict.time for verdict in verdicts)
    # One verdict alone has no extent in time.
    margin = max((last - first) / 20, timedelta(minutes=1))
    limits: Any = (first - margin, last + margin)
    axes.set_xlim(limits)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]


def _save(figure: Figure, path: Path | BytesIO) -> None:
    # Without the software's version in the file, the same numbers give the same bytes.
    figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


def data_uri(png: bytes) -> str:
    """Return an image as a URI that holds it, so that a page needs no other file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
