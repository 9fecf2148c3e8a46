"""End the services: let runs finish, or kill them; then stop workers and servers."""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import httpx
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled

from creche.operations import registry_checks
from creche.operations.deployments import is_paused, set_paused
from creche.operations.flow_runs import final_state, force_state, runs_in_progress
from creche.operations.issues import fix_and_log
from creche.operations.periodic_task import PeriodicTask
from creche.operations.run_processes import kill_processes, processes_by_run
from creche.operations.run_reconciler import RunReconciler, is_local
from creche.operations.servers import worker_process_name
from creche.operations.supervisor import Supervisor
from creche.records import ShutdownMode

Result = TypeVar("Result")

POLL_SECONDS = 1
RETRY_SECONDS = 60  # that a server may be away while the services end
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


class ShutdownRequest:
    """Records which shutdown a signal requests.

    SIGTERM or Ctrl-C: after the runs in progress. SIGQUIT, or any second signal: at once.
    """

    def __init__(self) -> None:
        self.mode: ShutdownMode | None = None

    def install(self) -> None:
        """Handle the signals."""
        for number in SIGNALS:
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, _frame: object) -> None:
        is_second = self.mode is not None
        self.mode = "now" if is_second or number == signal.SIGQUIT else "drain"


@dataclass(frozen=True)
class Drain:
    """Ends the runs of this machine's pools, and then the services.

    A pool belongs to one machine. Where two have workers in it, it is paused for both while one of
    them drains, and the runs of both are waited for; `down --now` ends this machine's alone.

    Attributes:
        tasks: run while runs are waited for. Without reconciliation, a run whose process was
            killed would be waited for forever.
    """

    supervisor: Supervisor
    reconciler: RunReconciler
    pools: list[str]
    request: ShutdownRequest
    tasks: list[PeriodicTask]

    def finish_runs(self) -> None:
        """Let the runs in progress finish and no other begin, or kill them if that was requested.

        The pools are drained one after the other, because runs of the first hand trainings to the
        others.
        """
        mode = self.request.mode or "drain"
        self.supervisor.set_shutdown(mode)
        if mode == "drain":
            for pool in self.pools:
                self.retry(partial(self._pause, pool))
                self._wait_for_runs(pool)
        # A second signal may have come meanwhile.
        if self.request.mode == "now":
            self._kill_runs()

    def _pause(self, pool: str) -> None:
        """Pause a pool, unless an operator has: that one stays paused after the drain."""
        if is_paused(pool):
            return
        # Recorded first: where this process is killed, the next services resume the pool.
        self.supervisor.add_paused_pool(pool)
        set_paused(pool, True)

    def resume_pools(self) -> None:
        """Resume the pools that this drain, or one whose process was killed, has paused."""
        for pool in list(self.supervisor.state.paused_pools):
            # An operator may have deleted it.
            with suppress(ObjectNotFound):
                set_paused(pool, False)
            self.supervisor.remove_paused_pool(pool)

    def _wait_for_runs(self, pool: str) -> None:
        last_message = ""
        while self.request.mode != "now":
            runs = self.retry(partial(runs_in_progress, pool))
            if not runs:
                return
            names = ", ".join(run.name for run in runs)
            message = f"waiting for {len(runs)} runs of pool {pool}: {names}"
            if message != last_message:
                self.supervisor.log("creche", message)
                last_message = message
            self.supervisor.restart_dead()
            for task in self.tasks:
                task.run_if_due(self.supervisor.log)
            time.sleep(POLL_SECONDS)

    def _kill_runs(self) -> None:
        """Kill the runs in progress, and record it in their states and in MLflow."""
        for pool in self.pools:
            self.supervisor.stop(worker_process_name(pool), signal.SIGKILL)
            is_own_pool = self.retry(partial(is_local, pool))
            for run in self.retry(partial(runs_in_progress, pool)):
                processes = processes_by_run().get(str(run.id), [])
                if not processes and not is_own_pool:
                    # It may go on in a process of another machine.
                    continue
                kill_processes(processes)
                state: State[None] = Cancelled(message="stopped by creche down --now")
                self.retry(partial(force_state, run.id, state))
                self.supervisor.log("creche", f"{run.name}: stopped")
        unfinished = registry_checks.unfinished_run_issues(self.supervisor.paths, final_state)
        fix_and_log((*self.reconciler.issues(), *unfinished), self.supervisor.log)

    def retry(self, request: Callable[[], Result]) -> Result:
        """Repeat a request while the Prefect server is away, or too busy to respond."""
        deadline = time.monotonic() + RETRY_SECONDS
        while True:
            try:
                return request()
            except (httpx.HTTPError, RuntimeError):
                if time.monotonic() > deadline:
                    raise
            self.supervisor.restart_dead()
            time.sleep(POLL_SECONDS)

    def stop_processes(self) -> None:
        """Stop workers and servers."""
        for pool in self.pools:
            # No run of it is in progress, or it must go on without its worker.
            self.supervisor.stop(worker_process_name(pool), signal.SIGKILL)
        # The server may be what went wrong; the next services then resume them.
        with suppress(Exception):
            self.resume_pools()
        for name in ("mlflow", "prefect"):
            self.supervisor.stop(name)
        self.supervisor.log("creche", "down")
