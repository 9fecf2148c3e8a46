"""Class weights in the loss; scikit-learn is the oracle of the balanced ones."""

import numpy as np
import pytest
import torch
from sklearn.utils.class_weight import compute_class_weight
from support.training import FIVE_FEATURES, fit_blobs, make_blobs

from creche.model import networks
from creche.recipe import Network, Training
from creche.training.class_weights import class_weights, training_loss
from creche.training.dataset import LabeledTensors, shard_batch
from creche.training.process_group import ProcessGroup

CPU = torch.device("cpu")
CLASSES = ("a", "b", "c")
LABELS = torch.tensor([0] * 90 + [1] * 8 + [2] * 2)


def balanced(labels: torch.Tensor = LABELS) -> torch.Tensor:
    weights = class_weights(Training(class_weights="balanced"), CLASSES, labels, CPU)
    assert weights is not None
    return weights


def test_balanced_weights_are_those_of_scikit_learn() -> None:
    expected = compute_class_weight("balanced", classes=np.arange(3), y=LABELS.numpy())
    assert balanced().tolist() == pytest.approx(expected)
    assert balanced()[LABELS].mean() == pytest.approx(1.0)


def test_class_that_is_not_named_has_weight_1() -> None:
    weights = class_weights(Training(class_weights={"c": 5}), CLASSES, LABELS, CPU)
    assert weights.tolist() == [1, 1, 5]
    assert class_weights(Training(), CLASSES, LABELS, CPU) is None


def test_class_without_rows_leaves_the_weights_finite() -> None:
    assert balanced(torch.tensor([0, 0, 1])).isfinite().all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_equal_weights_is_the_cross_entropy(smoothing: float) -> None:
    logits = torch.randn(100, 3)
    plain = training_loss(logits, LABELS, smoothing, None)
    torch.testing.assert_close(training_loss(logits, LABELS, smoothing, torch.ones(3)), plain)
    assert plain == torch.nn.CrossEntropyLoss(label_smoothing=smoothing)(logits, LABELS)


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_shards_of_a_process_group_add_up_to_the_loss_of_the_batch(world_size: int) -> None:
    logits = torch.randn(100, 3)
    batch_indices = torch.randperm(100)[:5]
    whole = training_loss(logits[batch_indices], LABELS[batch_indices], 0.0, balanced())
    total = torch.zeros(())
    for rank in range(world_size):
        group = ProcessGroup(rank=rank, world_size=world_size)
        shard = shard_batch(batch_indices, group)
        indices = shard.indices
        total += training_loss(logits[indices], LABELS[indices], 0.0, balanced()) * shard.weight
    torch.testing.assert_close(total / world_size, whole)


def test_rare_class_is_predicted_more_often_where_its_rows_count_more() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.tensor([0] * 470 + [1] * 25 + [2] * 5)
    x = torch.randn(500, 5, generator=generator) + y[:, None] * 0.7
    rows = LabeledTensors(x, y)
    training = Training(epochs=5, learning_rate=0.02, checkpoint_selection="last")
    recalls = []
    for weights in (None, balanced(y)):
        tensors, _ = fit_blobs(training, rows, rows, weights=weights)
        net = networks.build(Network(), FIVE_FEATURES)
        net.load_state_dict(tensors)
        net.eval()
        predicted = net(x).argmax(dim=1)
        recalls.append(float((predicted == y)[y > 0].float().mean()))
    assert recalls[1] > recalls[0] + 0.2


def test_weights_of_1_train_as_none_do() -> None:
    rows = make_blobs(100)
    training = Training(epochs=3)
    plain, history = fit_blobs(training, rows, rows)
    weighted, weighted_history = fit_blobs(training, rows, rows, weights=torch.ones(3))
    for name, tensor in plain.items():
        torch.testing.assert_close(weighted[name], tensor)
    assert [epoch.loss for epoch in weighted_history] == pytest.approx(
        [epoch.loss for epoch in history]
    )
