"""The device that a network trains on: selection, determinism, precision."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from creche.errors import DeviceError
from creche.recipe import Training

CPU = torch.device("cpu")


def select_device(name: str) -> torch.device:
    """Return a device by its name; `auto` takes CUDA, or Apple's MPS, if available.

    Raises:
        DeviceError: the device is not available.
    """
    is_available = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
    }
    if name == "auto":
        # In the order of preference.
        name = next(device for device, available in is_available.items() if available)
    if not is_available[name]:
        raise DeviceError(
            f"device {name} is not available: torch finds none on this machine; "
            "use --device cpu or auto"
        )
    return torch.device(name)


def set_determinism(is_deterministic: bool, device: torch.device) -> None:
    """Ask torch for deterministic operators, where the device has others as well.

    All operators that our networks use on the CPU are deterministic, and asking for them there
    imports the compiler (torch._inductor), which takes 1.7 s.
    """
    if device.type == "cpu":
        return
    # An operator without a deterministic form on CUDA is only warned of.
    torch.use_deterministic_algorithms(is_deterministic, warn_only=True)
    # It costs time, and nothing in the project reads uninitialized memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def autocast(training: Training, device: torch.device) -> torch.autocast:
    """Return the context in which a forward pass runs in the recipe's precision."""
    is_enabled = training.precision == "bfloat16"
    return torch.autocast(device.type, torch.bfloat16, is_enabled)


@contextmanager
def single_thread(is_wanted: bool) -> Iterator[None]:
    """Let torch compute on one thread for as long as the block lasts, if that is wanted."""
    n_threads = torch.get_num_threads()
    if is_wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(n_threads)
