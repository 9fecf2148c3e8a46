"""The processes of flow runs on this machine."""

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress

import psutil

from creche.operations.processes import kill_process_group

FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"  # which a worker sets for the process of a run


def processes_by_run() -> dict[str, list[psutil.Process]]:
    """Return the processes of this machine that belong to flow runs, by the run's id."""
    processes: dict[str, list[psutil.Process]] = defaultdict(list)
    for process in psutil.process_iter():
        # It may end meanwhile, or belong to another user.
        with suppress(psutil.Error, OSError):
            flow_run_id = process.environ().get(FLOW_RUN_VARIABLE)
            if flow_run_id and process.status() != psutil.STATUS_ZOMBIE:
                processes[flow_run_id].append(process)
    return processes


def kill_processes(processes: Iterable[psutil.Process]) -> None:
    """Kill the processes of a run, with all that they have started."""
    for process in processes:
        with suppress(ProcessLookupError):
            kill_process_group(os.getpgid(process.pid))
