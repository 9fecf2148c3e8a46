"""One process of a process group, started by torchrun:
`python -m creche.training.worker REQUEST`.
"""

import json
import logging
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import torch

from creche.errors import CrecheError, DeviceError
from creche.records import EpochMetrics
from creche.training.distributed import (
    PROGRESS_PREFIX,
    WorkerRequest,
    error_path,
    exit_with_parent,
)
from creche.training.job import run_job
from creche.training.process_group import TorchrunEnvironment, initialized_process_group


def main(request_path: Path) -> int:
    """Train as one process of a group; leave the message of an error beside the request."""
    logging.basicConfig(format="creche: %(message)s")
    # torchrun ends its workers when it is terminated, but cannot when it is killed.
    exit_with_parent(os.getppid(), signal.SIGKILL)
    request = WorkerRequest.model_validate_json(request_path.read_bytes())
    try:
        run_worker(request)
    except CrecheError as error:
        error_path(request_path).write_text(str(error))
        return 1
    return 0


def run_worker(request: WorkerRequest) -> None:
    """Join the process group and train."""
    environment = TorchrunEnvironment.read()
    device = _worker_device(request.device, environment)
    timeout = timedelta(seconds=request.recipe.training.timeout_seconds)
    with initialized_process_group(environment, device, timeout) as group:
        on_progress = print_progress if group.is_main_process else None
        run_job(request.recipe, request.paths, device, group, on_progress)


def print_progress(rows: int, metrics: dict[str, float], epoch: EpochMetrics | None) -> None:
    """Print progress as a line with JSON, which the process that launched the group reads."""
    epoch_values = epoch.model_dump() if epoch else None
    print(PROGRESS_PREFIX + json.dumps([rows, metrics, epoch_values]), flush=True)


def _worker_device(device_type: str, environment: TorchrunEnvironment) -> torch.device:
    """Return the device of this worker: on CUDA each has one of its own."""
    if device_type != "cuda":
        return torch.device(device_type)
    n_devices = torch.cuda.device_count()
    if environment.local_rank >= n_devices:
        raise DeviceError(
            f"{environment.local_world_size} processes on {n_devices} CUDA devices: one each at "
            "most"
        )
    device = torch.device(device_type, environment.local_rank)
    torch.cuda.set_device(device)
    return device


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
