"""The training loop on synthetic rows."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.projects import ROOT
from support.training import fit_blobs, make_blobs, weights_digest

from creche.errors import TrainingError
from creche.recipe import Training, load
from creche.records import EpochMetrics
from creche.training import loop
from creche.training.checkpoint import Checkpoint
from creche.training.dataset import LabeledTensors
from creche.training.metrics import best_epoch

LAB = load("penguins-lab", ROOT)


@pytest.mark.parametrize("shuffle", ["never", "once", "each-epoch"])
def test_same_seed_gives_the_same_bits_on_any_number_of_threads(shuffle: str) -> None:
    training = Training(epochs=5, shuffle=shuffle, checkpoint_selection="last")
    n_threads_before = torch.get_num_threads()
    try:
        digests = set()
        for n_threads in (1, 2):
            torch.set_num_threads(n_threads)
            weights, _ = fit_blobs(training)
            digests.add(weights_digest(weights))
    finally:
        torch.set_num_threads(n_threads_before)
    assert len(digests) == 1
    other_weights, _ = fit_blobs(training.model_copy(update={"seed": 1}))
    assert weights_digest(other_weights) not in digests


def test_weights_of_the_best_epoch_are_selected() -> None:
    training = Training(epochs=30, learning_rate=0.05, checkpoint_selection="best")
    weights, history = fit_blobs(training)
    epoch = best_epoch(history).epoch
    assert epoch < 30
    shorter = training.model_copy(update={"epochs": epoch, "checkpoint_selection": "last"})
    weights_of_epoch, _ = fit_blobs(shorter)
    assert weights_digest(weights) == weights_digest(weights_of_epoch)


def test_lab_recipe_is_the_lab_loop() -> None:
    """The lab's own module and loop, written out: log-softmax under cross-entropy, batches of 20 in
    file order.
    """
    rows = make_blobs(100)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 10),
        torch.nn.ReLU(),
        torch.nn.Linear(10, 3),
    )
    optimizer = torch.optim.Adam(net.parameters(), lr=0.001)
    criterion = torch.nn.CrossEntropyLoss()
    losses = []
    for _ in range(20):
        total = 0.0
        for i in range(0, 100, 20):
            optimizer.zero_grad()
            log_probabilities = torch.log_softmax(net(rows.x[i : i + 20]), 1)
            loss = criterion(log_probabilities, rows.y[i : i + 20])
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / 5)
    training = LAB.training.model_copy(update={"epochs": 20, "repeat": 1, "shuffle": "never"})
    _, history = fit_blobs(training, rows, rows, network=LAB.network)
    assert [epoch.loss for epoch in history] == pytest.approx(losses, abs=1e-5)


def test_training_rows_are_repeated() -> None:
    rows = make_blobs()
    once = Training(epochs=3, shuffle="never", checkpoint_selection="last", batch_size=20)
    repeated, _ = fit_blobs(once.model_copy(update={"repeat": 4}), rows)
    tiled, _ = fit_blobs(once, LabeledTensors(rows.x.repeat(4, 1), rows.y.repeat(4)))
    assert weights_digest(repeated) == weights_digest(tiled)


def test_progress_is_reported_after_each_epoch() -> None:
    reported_rows: list[int] = []
    reported_epochs: list[EpochMetrics] = []

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        # On a slow machine there are reports within an epoch as well.
        if epoch:
            reported_rows.append(rows)
            reported_epochs.append(epoch)

    _, history = fit_blobs(Training(epochs=4), on_progress=on_progress)
    assert reported_epochs == history
    assert reported_rows == [60, 120, 180, 240]
    assert [epoch.epoch for epoch in history] == [1, 2, 3, 4]


@pytest.mark.parametrize("batch_size", [32, 4096])
def test_progress_within_an_epoch_counts_the_rows_of_its_batches(
    batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "PROGRESS_SECONDS", -1.0)
    reports: list[tuple[int, dict[str, float]]] = []

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        if epoch is None:
            reports.append((rows, metrics))

    training = Training(epochs=2, batch_size=batch_size, shuffle="never")
    _, history = fit_blobs(training, on_progress=on_progress)
    batch_rows = min(batch_size, 60)
    assert sorted({rows for rows, _ in reports}) == sorted({batch_rows, 60, 60 + batch_rows, 120})
    # The last report of an epoch is of all its batches, though the last one has fewer rows.
    last_reports = [metrics for rows, metrics in reports if rows % 60 == 0]
    for metrics, epoch in zip(last_reports, history, strict=True):
        assert metrics["loss"] == pytest.approx(epoch.loss)
        assert metrics["accuracy"] == pytest.approx(epoch.accuracy)


def test_mean_losses_of_batches_are_logged() -> None:
    training = Training(epochs=1, batch_size=10, shuffle="never", log_every=4)
    _, history = fit_blobs(training)
    # Six batches of an epoch: one window of four, and two batches that are left out.
    (first_epoch,) = history
    assert first_epoch.batch_losses is not None
    assert len(first_epoch.batch_losses) == 1
    _, history = fit_blobs(training.model_copy(update={"log_every": 1}))
    losses = history[0].batch_losses
    assert losses is not None
    assert sum(losses) / 6 == pytest.approx(first_epoch.loss)
    assert sum(losses[:4]) / 4 == pytest.approx(first_epoch.batch_losses[0])


@pytest.mark.parametrize("batch_size", [32, 4096])
def test_mean_loss_of_a_batch_with_fewer_rows_is_over_its_own_rows(batch_size: int) -> None:
    n_batches = 2 if batch_size == 32 else 1
    training = Training(epochs=1, batch_size=batch_size, shuffle="never", log_every=n_batches)
    _, (first_epoch,) = fit_blobs(training)
    assert first_epoch.batch_losses == [pytest.approx(first_epoch.loss)]


def test_loss_that_is_not_finite_stops_the_training_and_keeps_the_last_good_weights(
    tmp_path: Path,
) -> None:
    checkpoint = Checkpoint(tmp_path / "x.pt", {}, every_epochs=99, every_seconds=99)
    x = make_blobs().x
    x[40] = float("nan")
    with pytest.raises(
        TrainingError, match=r"not finite at epoch 1, batch 2: lower training.learning_rate"
    ):
        fit_blobs(
            Training(shuffle="never"), LabeledTensors(x, make_blobs().y), checkpoint=checkpoint
        )
    diverging = Training(optimizer="sgd", learning_rate=1e10, batch_size="full")
    with pytest.raises(
        TrainingError,
        match=r"at epoch [23], .* last good weights, of epoch [12] .*x.good.safetensors",
    ):
        fit_blobs(diverging, checkpoint=checkpoint)
    weights = load_file(tmp_path / "x.good.safetensors")
    assert all(weight.isfinite().all() for weight in weights.values())


def test_training_stops_when_the_validation_loss_stops_falling() -> None:
    _, history = fit_blobs(Training(epochs=300, learning_rate=0.05, patience=3))
    assert len(history) == best_epoch(history).epoch + 3 < 300


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_network_within_float_tolerance() -> None:
    training = Training(epochs=5, checkpoint_selection="last")
    weights: dict[str, Any] = {}
    for device in ("cpu", "cuda"):
        train_rows = on_device(make_blobs(), device)
        validation_rows = on_device(make_blobs(30, seed=1), device)
        weights[device], _ = fit_blobs(training, train_rows, validation_rows)
    for name, weight in weights["cpu"].items():
        torch.testing.assert_close(weight, weights["cuda"][name].cpu(), atol=1e-4, rtol=1e-3)


def on_device(rows: LabeledTensors, device: str) -> LabeledTensors:
    return LabeledTensors(rows.x.to(device), rows.y.to(device))
