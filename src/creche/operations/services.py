"""`creche up`: run the servers and workers of one machine until a signal ends them."""

import os
import platform
import time
from collections.abc import Sequence

from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from creche.operations import automations, service_state
from creche.operations.deployments import apply_deployments, wait_for_schedules
from creche.operations.drain import Drain, ShutdownRequest
from creche.operations.finished_runs import FinishedRuns
from creche.operations.inbox import Inbox
from creche.operations.local_pools import local_pools
from creche.operations.mlflow_reconciler import MlflowReconciler
from creche.operations.periodic_task import PeriodicTask
from creche.operations.run_reconciler import RunReconciler
from creche.operations.servers import start_servers, worker
from creche.operations.service_log import ServiceLog
from creche.operations.service_settings import ServiceSettings, load_settings
from creche.operations.supervisor import Supervisor
from creche.project import ProjectPaths
from creche.records import ServiceAddresses, ServicesState

LOOP_SECONDS = 0.5
POLL_SECONDS = 2.0  # between two scans of the inbox
FINISHED_SECONDS = 5.0  # between two reads of finished runs
RECONCILE_SECONDS = 15.0
DRAIN_RECONCILE_SECONDS = 1.0
START_RETRIES = 5  # of a request: a server that has just started may be busy


def run_services(
    paths: ProjectPaths,
    addresses: ServiceAddresses,
    gpu: bool = False,
    only_pools: Sequence[str] = (),
) -> None:
    """Run servers and workers until a signal ends them (see `drain.ShutdownRequest`).

    Where the Prefect server is that of another machine too, the inbox of this machine is scanned
    and the deployments of this checkout are applied: no other process may do so.

    Args:
        paths: of the project.
        addresses: from `find_addresses`; the environment names them already.
        gpu: start a worker for pool gpu even where no CUDA device is seen.
        only_pools: the pools that this machine has workers for; empty: all, gpu only with CUDA.

    Raises:
        UsageError: deploy/prefect.yaml is wrong, or has no such pool.
        CrecheError: services already run on this machine, or a server does not start.
    """
    settings = load_settings(paths)
    pools = local_pools(settings, gpu, only_pools)
    previous = service_state.last_state(paths)
    state = ServicesState(
        pid=os.getpid(),
        host=platform.node(),
        addresses=addresses,
        pools=pools,
        paused_pools=previous.paused_pools if previous else [],
    )
    with service_state.services_lock(paths):
        log = ServiceLog(service_state.log_file(paths))
        services = Services(Supervisor(paths, log, state), settings, addresses)
        try:
            services.run()
        finally:
            log.close()


class Services:
    """The servers, the workers, and the tasks of the loop between their start and their end.

    Args:
        supervisor: whose state names the pools that this machine has workers for.
        settings: of deploy/prefect.yaml.
        addresses: of the servers.
    """

    def __init__(
        self, supervisor: Supervisor, settings: ServiceSettings, addresses: ServiceAddresses
    ) -> None:
        self._supervisor = supervisor
        self._settings = settings
        self._addresses = addresses
        self._paths = supervisor.paths
        self._log = supervisor.log
        self._pools = supervisor.state.pools
        self._request = ShutdownRequest()
        self._reconciler = RunReconciler(self._paths)
        self._mlflow_reconciler = MlflowReconciler(self._paths, self._log)
        self._finished_runs = FinishedRuns(self._log)
        self._drain = self._new_drain()

    def run(self) -> None:
        """Start everything, keep it running until a signal, then end it."""
        self._request.install()
        try:
            with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: START_RETRIES}):
                self._start()
            self._supervisor.set_ready()
            self._loop()
            self._drain.finish_runs()
            # Those that ended while the others were waited for.
            self._drain.retry(self._log_finished_runs)
        finally:
            self._mlflow_reconciler.close()
            self._drain.stop_processes()

    def _new_drain(self) -> Drain:
        tasks = [
            PeriodicTask(self._reconcile, DRAIN_RECONCILE_SECONDS),
            PeriodicTask(self._mlflow_reconciler.reconcile, POLL_SECONDS),
        ]
        return Drain(self._supervisor, self._reconciler, self._pools, self._request, tasks)

    def _start(self) -> None:
        start_servers(self._supervisor, self._addresses, self._settings)
        apply_deployments(self._paths, self._settings.pools, self._log)
        self._drain.resume_pools()
        automations.register(self._settings.webhook)
        # Before a worker claims what an earlier one has left.
        self._reconciler.reconcile(self._log)
        for pool in self._pools:
            self._supervisor.start(worker(pool))
        wait_for_schedules(self._supervisor)

    def _loop(self) -> None:
        inbox = Inbox(self._paths, self._log)
        tasks = [
            PeriodicTask(inbox.scan, POLL_SECONDS),
            PeriodicTask(self._reconcile, RECONCILE_SECONDS),
            PeriodicTask(self._log_finished_runs, FINISHED_SECONDS),
            PeriodicTask(self._mlflow_reconciler.reconcile, POLL_SECONDS),
        ]
        while self._request.mode is None:
            self._supervisor.restart_dead()
            for task in tasks:
                task.run_if_due(self._log)
            time.sleep(LOOP_SECONDS)

    def _reconcile(self) -> None:
        self._reconciler.reconcile(self._log)

    def _log_finished_runs(self) -> None:
        any_interrupted = self._finished_runs.log_new()
        if any_interrupted:
            self._mlflow_reconciler.flow_run_interrupted()
