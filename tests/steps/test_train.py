import hashlib

import numpy as np
import pytest
import torch
from conftest import ROOT

from creche.errors import DeviceError, TrainingError
from creche.recipe import Network, Training, load
from creche.steps.train import Weights, best, pick, train

LAB = load("penguins-lab", ROOT)


def blobs(rows: int = 60, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    random = np.random.default_rng(seed)
    y = np.arange(rows) % 3
    x = random.normal(0, 1, (rows, 5)) + 2 * np.eye(5)[y]
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def digest(weights: Weights) -> str:
    return hashlib.sha256(b"".join(w.numpy().tobytes() for w in weights.values())).hexdigest()


def fit(training: Training, seed: int = 0) -> tuple[Weights, list[dict[str, float]]]:
    return train(*blobs(), *blobs(30, 1), Network(), 3, training.model_copy(update={"seed": seed}))


@pytest.mark.parametrize("shuffle", ["never", "once", "each-epoch"])
def test_same_seed_gives_the_same_bits_on_any_number_of_threads(shuffle: str) -> None:
    training = Training(epochs=5, shuffle=shuffle, keep="last")
    threads = torch.get_num_threads()
    try:
        found = set()
        for count in (1, 2):
            torch.set_num_threads(count)
            found.add(digest(fit(training)[0]))
    finally:
        torch.set_num_threads(threads)
    assert len(found) == 1
    assert digest(fit(training, seed=1)[0]) not in found


def test_weights_of_the_best_epoch_are_kept() -> None:
    training = Training(epochs=30, learning_rate=0.05, keep="best")
    weights, history = fit(training)
    epoch = int(best(history)["epoch"])
    assert epoch < 30
    cut, _ = fit(training.model_copy(update={"epochs": epoch, "keep": "last"}))
    assert digest(weights) == digest(cut)


def test_lab_recipe_is_the_lab_loop() -> None:
    """The lab's own module and loop, written out: log-softmax under cross-entropy, batches of 20 in file order."""
    x, y = blobs(100)
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Linear(5, 10), torch.nn.ReLU(), torch.nn.Linear(10, 10), torch.nn.ReLU(), torch.nn.Linear(10, 3)
    )
    optimiser = torch.optim.Adam(net.parameters(), lr=0.001)
    losses = []
    for _ in range(20):
        total = 0.0
        for i in range(0, 100, 20):
            optimiser.zero_grad()
            loss = torch.nn.CrossEntropyLoss()(torch.log_softmax(net(x[i : i + 20]), 1), y[i : i + 20])
            loss.backward()
            optimiser.step()
            total += loss.item()
        losses.append(total / 5)
    ours = LAB.training.model_copy(update={"epochs": 20, "repeat": 1, "shuffle": "never"})
    _, history = train(x, y, x, y, LAB.network, 3, ours)
    assert [e["loss"] for e in history] == pytest.approx(losses, abs=1e-5)


def test_rows_are_repeated_on_the_training_side() -> None:
    x, y = blobs()
    once = Training(epochs=3, shuffle="never", keep="last", batch_size=20)
    repeated = train(x, y, x, y, Network(), 3, once.model_copy(update={"repeat": 4}))[0]
    by_hand = train(x.repeat(4, 1), y.repeat(4), x, y, Network(), 3, once)[0]
    assert digest(repeated) == digest(by_hand)


def test_each_epoch_is_told() -> None:
    seen: list[dict[str, float]] = []
    _, history = train(*blobs(), *blobs(30, 1), Network(), 3, Training(epochs=4), seen.append)
    assert seen == history
    assert [set(e) for e in seen] == [{"epoch", "loss", "val_loss", "val_accuracy"}] * 4


def test_loss_that_is_no_number_stops_the_training() -> None:
    x, y = blobs()
    with pytest.raises(TrainingError, match=r"the loss is no number any more at epoch 1 .*: lower training.learning_rate"):
        train(x * float("nan"), y, x, y, Network(), 3, Training())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_cuda_asked_for_and_absent_is_an_error() -> None:
    with pytest.raises(DeviceError, match="device cuda was asked for, but torch sees no CUDA device"):
        pick("cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_network_within_float_tolerance() -> None:
    x, y = blobs()
    training = Training(epochs=5, keep="last")
    on_cpu = train(x, y, x, y, Network(), 3, training)[0]
    on_gpu = train(x.cuda(), y.cuda(), x.cuda(), y.cuda(), Network(), 3, training)[0]
    for name, weight in on_cpu.items():
        assert torch.allclose(weight, on_gpu[name].cpu(), atol=1e-4)
