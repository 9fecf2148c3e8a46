"""`creche up`: run the servers and workers of one machine until a signal ends them."""

import ctypes
import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from creche.errors import UsageError
from creche.operations import automations, service_state
from creche.operations.deployments import apply_deployments, wait_for_schedules
from creche.operations.drain import Drain, ShutdownRequest
from creche.operations.finished_runs import FinishedRuns
from creche.operations.inbox import Inbox
from creche.operations.mlflow_reconciler import MlflowReconciler
from creche.operations.run_reconciler import RunReconciler
from creche.operations.servers import start_servers, worker
from creche.operations.service_log import Log, ServiceLog
from creche.operations.service_settings import CONFIG, ServiceSettings, load_settings
from creche.operations.supervisor import Supervisor
from creche.project import ProjectPaths
from creche.records import ServiceAddresses, ServicesState

LOOP_SECONDS = 0.5
POLL_SECONDS = 2.0  # between two scans of the inbox, and two reads of finished runs
RECONCILE_SECONDS = 15.0
START_RETRIES = 5  # of a request: a server that has just started may be busy
MESSAGE_LENGTH = 200  # characters of an error in the log


def run_services(
    paths: ProjectPaths,
    addresses: ServiceAddresses,
    gpu: bool,
    only_pools: Sequence[str] | None = None,
) -> None:
    """Run servers and workers until a signal ends them (see `drain.ShutdownRequest`).

    Args:
        paths: of the project.
        addresses: from `find_addresses`; the environment names them already.
        gpu: start a worker for pool gpu even where no CUDA device is seen.
        only_pools: the pools that this machine has workers for; None: all, gpu only with CUDA.

    Raises:
        UsageError: deploy/prefect.yaml is wrong, or has no such pool.
        CrecheError: services already run on this machine, or a server does not start.
    """
    settings = load_settings(paths)
    pools = _local_pools(settings, gpu, only_pools)
    state = ServicesState(pid=os.getpid(), host=platform.node(), addresses=addresses, pools=pools)
    with service_state.services_lock(paths):
        log = ServiceLog(service_state.log_file(paths))
        supervisor = Supervisor(paths, log, state)
        reconciler = RunReconciler(paths)
        request = ShutdownRequest()
        request.install()
        drain = Drain(supervisor, reconciler, pools, request)
        try:
            start_servers(supervisor, addresses, settings)
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: START_RETRIES}):
                apply_deployments(paths, settings.pools, log)
                automations.register(settings.webhook)
                # Before a worker claims what an earlier one has left.
                reconciler.reconcile(log)
            for pool in pools:
                supervisor.start(worker(pool))
            wait_for_schedules(supervisor)
            supervisor.set_ready()
            finished_runs = FinishedRuns(log)
            _run_until(request, supervisor, reconciler, finished_runs)
            drain.finish_runs()
            finished_runs.log_new()
        finally:
            drain.stop_services()
            log.close()


def _local_pools(
    settings: ServiceSettings, gpu: bool, only_pools: Sequence[str] | None
) -> list[str]:
    """Return the pools that this machine works for."""
    if only_pools:
        unknown = set(only_pools) - set(settings.pools)
        if unknown:
            known = ", ".join(settings.pools)
            raise UsageError(f"{CONFIG} has no pool {min(unknown)}, only {known}")
        return [pool for pool in settings.pools if pool in only_pools]
    return [pool for pool in settings.pools if pool != "gpu" or gpu or has_cuda()]


def has_cuda() -> bool:
    """Return whether the driver sees a CUDA device; does not import torch."""
    with suppress(OSError):
        cuda = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int()
        if cuda.cuInit(0) == 0 and cuda.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value > 0
    return False


@dataclass
class PeriodicTask:
    """A function that is called every so often, and whose failures are logged and survived."""

    function: Callable[[], None]
    interval: float  # s
    next_call: float = 0.0  # monotonic, s
    last_error: str = ""

    def run_if_due(self, log: Log) -> None:
        """Call it if it is time to; log an error unless it is the one of the last call."""
        if time.monotonic() < self.next_call:
            return
        try:
            self.function()
            self.last_error = ""
        # A server that does not respond comes back; the supervisor must not end with it.
        except Exception as error:
            description = " ".join(str(error).split())[:MESSAGE_LENGTH]
            message = f"{type(error).__name__}: {description}"
            if message != self.last_error:
                log("creche", message)
            self.last_error = message
        self.next_call = time.monotonic() + self.interval


def _run_until(
    request: ShutdownRequest,
    supervisor: Supervisor,
    reconciler: RunReconciler,
    finished_runs: FinishedRuns,
) -> None:
    """Keep the processes running and do what is due, until a shutdown is requested."""
    log = supervisor.log
    inbox = Inbox(supervisor.paths, log)
    mlflow_reconciler = MlflowReconciler(supervisor.paths, log)

    def log_finished_runs() -> None:
        if finished_runs.log_new():
            mlflow_reconciler.flow_run_interrupted()

    tasks = [
        PeriodicTask(inbox.scan, POLL_SECONDS),
        PeriodicTask(lambda: reconciler.reconcile(log), RECONCILE_SECONDS),
        PeriodicTask(log_finished_runs, POLL_SECONDS),
        PeriodicTask(mlflow_reconciler.reconcile, POLL_SECONDS),
    ]
    try:
        while request.mode is None:
            supervisor.restart_dead()
            for task in tasks:
                task.run_if_due(log)
            time.sleep(LOOP_SECONDS)
    finally:
        mlflow_reconciler.close()
