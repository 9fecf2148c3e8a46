"""Log how flow runs end, each once."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterEndTime
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.types._datetime import DateTime

from creche.operations.flow_runs import PAGE_SIZE
from creche.operations.service_log import Log

OVERLAP = timedelta(minutes=2)  # a state may reach the server some time after the run's end
# In these a run has not recorded its own end in MLflow.
INTERRUPTED = (StateType.CRASHED, StateType.CANCELLED)


class FinishedRuns:
    """Logs the runs that have ended since the instance was created."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._since = datetime.now(UTC)
        self._logged: set[UUID] = set()

    def log_new(self) -> bool:
        """Log the runs that have ended since the last call.

        Returns:
            Whether one of them was interrupted.
        """
        finished = self._read()
        any_interrupted = False
        for run in finished:
            if run.id in self._logged or run.state is None:
                continue
            self._log("runs", f"{run.name}  {run.state.name}  {run.state.message or ''}")
            if run.state.type in INTERRUPTED:
                any_interrupted = True
        self._logged = {run.id for run in finished}
        self._since = datetime.now(UTC)
        return any_interrupted

    def _read(self) -> list[FlowRun]:
        after = DateTime.instance(self._since - OVERLAP)
        finished = FlowRunFilter(end_time=FlowRunFilterEndTime(after_=after))
        with get_client(sync_client=True) as client:
            return client.read_flow_runs(flow_run_filter=finished, limit=PAGE_SIZE)
