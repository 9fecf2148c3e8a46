"""Checkpoints: resume to the same bits, full disks, files of other trainings."""

import io
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from support.training import PrepareRun, fit_blobs, train_in_subprocess, weights_digest

from creche.errors import TrainingError
from creche.model import networks
from creche.model.encoders import ImageEncoder
from creche.model.preprocessor import Preprocessor
from creche.pipeline import run_step
from creche.project import CHECKPOINTS, HISTORY, WEIGHTS, RunPaths
from creche.recipe import Augment, Convolution, Network, Training
from creche.records import EpochMetrics
from creche.training.checkpoint import Checkpoint
from creche.training.dataset import LabeledTensors
from creche.training.loop import train
from creche.training.metrics import OnProgress
from creche.training.state import Tensors

ROWS_OF_AN_EPOCH = 180  # at most, of the penguins recipe


def read_outputs(paths: RunPaths) -> dict[str, bytes]:
    return {name: (paths / name).read_bytes() for name in (WEIGHTS, HISTORY)}


def interrupt_after(last_epoch: int) -> OnProgress:
    """Return an `on_progress` that ends the training after an epoch, before its checkpoint."""

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        if epoch and epoch.epoch == last_epoch:
            raise InterruptedError

    return on_progress


@pytest.mark.parametrize(
    "changes",
    [
        # The test of every optimizer resumes from such a checkpoint too, without a kill.
        pytest.param({"checkpoint_epochs": 4}, id="after epochs", marks=pytest.mark.slow),
        pytest.param({"checkpoint_minutes": 0}, id="within an epoch"),
    ],
)
def test_killed_training_resumes_to_the_same_bits(
    changes: dict[str, Any], prepare_run: PrepareRun
) -> None:
    recipe, paths = prepare_run(epochs=20, **changes)
    run_step("train", recipe, paths, device="cpu")
    undisturbed = read_outputs(paths)
    for name in undisturbed:
        (paths / name).unlink()
    killed = train_in_subprocess(recipe, paths, kill_after_rows=10 * ROWS_OF_AN_EPOCH)
    assert killed.returncode == -signal.SIGKILL
    assert list((paths.home / CHECKPOINTS).iterdir())
    reported_rows: list[int] = []

    def on_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
        reported_rows.append(rows)

    run_step("train", recipe, paths, device="cpu", on_progress=on_progress)
    assert reported_rows[0] > 8 * ROWS_OF_AN_EPOCH
    assert read_outputs(paths) == undisturbed
    assert not list((paths.home / CHECKPOINTS).iterdir())


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_state_of_every_optimizer_is_restored(optimizer: str, tmp_path: Path) -> None:
    training = Training(
        epochs=6, optimizer=optimizer, momentum=0.9, bias_lr_multiplier=2, schedule="one-cycle"
    )
    expected_weights, expected_history = fit_blobs(training)
    checkpoint = Checkpoint(tmp_path / "x.pt", {}, every_epochs=1, every_seconds=99)
    with pytest.raises(InterruptedError):
        fit_blobs(training, checkpoint=checkpoint, on_progress=interrupt_after(4))
    weights, history = fit_blobs(training, checkpoint=checkpoint)
    assert weights_digest(weights) == weights_digest(expected_weights)
    assert history == expected_history


def test_network_in_channels_last_memory_order_resumes_to_the_same_bits(tmp_path: Path) -> None:
    spec = Network(
        kind="cnn", convolutions=(Convolution(channels=8), Convolution(channels=8)), batch_norm=True
    )
    image = ImageEncoder("image", means=(0.5,) * 3, scales=(0.2,) * 3, shape=(8, 8, 3))
    preprocessor = Preprocessor((image,), ("a", "b"))
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (64, 8, 8, 3), dtype=torch.uint8, generator=generator)
    rows = LabeledTensors(pixels, torch.arange(64) % 2)
    training = Training(
        epochs=4, optimizer="adamw", augment=Augment(horizontal_flip=True, shift=2), batch_size=16
    )

    def fit(**options: Any) -> tuple[Tensors, list[EpochMetrics]]:
        torch.manual_seed(0)
        net = networks.build(spec, preprocessor).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return train(net, rows, rows, training, torch.device("cpu"), **options)

    expected_weights, expected_history = fit()
    checkpoint = Checkpoint(tmp_path / "x.pt", {}, every_epochs=1, every_seconds=99)
    with pytest.raises(InterruptedError):
        fit(checkpoint=checkpoint, on_progress=interrupt_after(2))
    weights, history = fit(checkpoint=checkpoint)
    assert weights_digest(weights) == weights_digest(expected_weights)
    assert history == expected_history


def test_training_that_ran_out_of_patience_does_not_continue(tmp_path: Path) -> None:
    training = Training(epochs=300, learning_rate=0.05, patience=3)
    checkpoint = Checkpoint(tmp_path / "x.pt", {}, every_epochs=1, every_seconds=99)
    weights, history = fit_blobs(training, checkpoint=checkpoint)
    # As after a kill between the end of the training and the deletion of the file.
    weights_again, history_again = fit_blobs(training, checkpoint=checkpoint)
    assert weights_digest(weights_again) == weights_digest(weights)
    assert history_again == history


def test_full_disk_costs_the_checkpoint_and_not_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    full = tmp_path / "full"
    full.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", full]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("cannot mount a small file system here")
    try:
        (full / "filling").write_bytes(bytes(60_000))
        checkpoint = Checkpoint(full / "x.pt", {}, every_epochs=1, every_seconds=99)
        training = Training(epochs=3, checkpoint_selection="last")
        weights, _ = fit_blobs(training, checkpoint=checkpoint)
        expected_weights, _ = fit_blobs(training)
        assert weights_digest(weights) == weights_digest(expected_weights)
        assert "no checkpoint, training continues without" in caplog.text
        assert "No space left" in caplog.text
        assert [p.name for p in full.iterdir()] == ["filling"]
    finally:
        subprocess.run(["umount", full], check=True)


def test_checkpoint_of_another_training_is_refused(prepare_run: PrepareRun) -> None:
    recipe, paths = prepare_run(epochs=20, checkpoint_epochs=1)
    with pytest.raises(InterruptedError):
        run_step("train", recipe, paths, on_progress=interrupt_after(5))
    (path,) = (paths.home / CHECKPOINTS).iterdir()
    with pytest.raises(
        TrainingError, match=rf"{path} is a checkpoint of another training \(processes 1, not 2\)"
    ):
        run_step("train", recipe, paths, processes=2)
    path.write_bytes(b"no tensors")
    with pytest.raises(
        TrainingError,
        match=rf"{path} is not a readable checkpoint .*: move it away to start from the beginning",
    ):
        run_step("train", recipe, paths)


def torch_file(content: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no tensors",
        torch_file({"weights": torch.zeros(3)})[:-100],
        torch_file({"weights": torch.zeros(3)}),
        torch_file([1, 2]),
        # An object whose class would have to be imported.
        torch_file(torch.nn.Linear(2, 2)),
    ],
    ids=["empty", "text", "truncated", "other keys", "a list", "a module"],
)
def test_file_that_is_not_a_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "x.pt", {}, every_epochs=1, every_seconds=99)
    checkpoint.path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"x.pt is not a readable checkpoint"):
        fit_blobs(Training(epochs=1), checkpoint=checkpoint)
    assert checkpoint.path.read_bytes() == content
