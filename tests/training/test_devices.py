"""Selection of a device, and its errors."""

import pytest
import torch
from support.projects import ROOT
from support.training import FIVE_FEATURES, make_blobs

from creche.errors import DeviceError
from creche.recipe import Network, load
from creche.training import trainer
from creche.training.devices import select_device
from creche.training.trainer import train_network


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_absent_cuda_device_is_an_error() -> None:
    with pytest.raises(
        DeviceError, match="device cuda is not available: torch finds none on this machine"
    ):
        select_device("cuda")


@pytest.mark.parametrize(("batch_size", "rows"), [(20, "20"), ("full", "all")])
def test_out_of_memory_names_the_rows_of_a_batch(
    batch_size: object, rows: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(trainer, "train", fail)
    recipe = load("penguins-lab", ROOT)
    training = recipe.training.model_copy(update={"batch_size": batch_size})
    changed = recipe.model_copy(update={"training": training})
    with pytest.raises(DeviceError, match=f"not enough memory for batches of {rows} rows: lower"):
        train_network(changed, FIVE_FEATURES, make_blobs(), make_blobs())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_out_of_memory_names_the_recipe_key() -> None:
    recipe = load("penguins-lab", ROOT)
    huge = recipe.model_copy(update={"network": Network(hidden=(200_000, 200_000))})
    with pytest.raises(
        DeviceError,
        match=r"cuda has not enough memory for batches of 20 rows: lower training.batch_size",
    ):
        train_network(huge, FIVE_FEATURES, make_blobs(), make_blobs(), torch.device("cuda"))
