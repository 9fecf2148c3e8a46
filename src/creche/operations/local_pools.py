"""The work pools that this machine has workers for."""

import ctypes
from collections.abc import Sequence
from contextlib import suppress

from creche.errors import UsageError
from creche.operations.service_settings import CONFIG, ServiceSettings

GPU_POOL = "gpu"


def local_pools(settings: ServiceSettings, gpu: bool, only_pools: Sequence[str]) -> list[str]:
    """Return the pools that this machine works for, in the order of the settings.

    Args:
        settings: with all pools.
        gpu: include pool gpu even where no CUDA device is seen.
        only_pools: these alone; empty: all, but pool gpu only with CUDA.

    Raises:
        UsageError: there is no such pool.
    """
    if only_pools:
        unknown = set(only_pools) - set(settings.pools)
        if unknown:
            known = ", ".join(settings.pools)
            raise UsageError(f"{CONFIG} has no pool {min(unknown)}, only {known}")
        return [pool for pool in settings.pools if pool in only_pools]
    # A worker without CUDA would claim trainings for a GPU, and refuse each.
    with_gpu = GPU_POOL not in settings.pools or gpu or has_cuda()
    return [pool for pool in settings.pools if with_gpu or pool != GPU_POOL]


def has_cuda() -> bool:
    """Return whether the driver sees a CUDA device."""
    # Of the driver itself, because torch takes seconds to import.
    with suppress(OSError):
        cuda = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int()
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value > 0
    return False
