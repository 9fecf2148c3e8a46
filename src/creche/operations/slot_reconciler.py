"""Release the slots of concurrency limits that no run holds."""

import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.responses import DeploymentResponse

from creche.operations.flow_runs import runs_in_progress
from creche.operations.issues import FIX, Issue

# The server releases by itself a slot whose lease of 300 s has ended.
UNUSED_SECONDS = 400
CONFIRM_SECONDS = 3.0  # between two passes of `creche doctor`


class SlotReconciler:
    """Finds slots that a deployment's limit counts as taken and that no run holds.

    They are an issue only once they have been so for a while; the instance remembers since when.
    """

    def __init__(self) -> None:
        self._unused_since: dict[UUID, float] = {}  # limit → s since the epoch

    def confirm_seconds(self) -> float:
        """Return in how many seconds a second pass may find more; 0 where it would not."""
        return CONFIRM_SECONDS if self._unused_since else 0.0

    def issues(self, min_seconds: float = UNUSED_SECONDS) -> Iterator[Issue]:
        """Find slots that have been taken by no run for at least `min_seconds`."""
        with get_client(sync_client=True) as client:
            deployments = client.read_deployments()
        # Read after the limits: a run takes its slot before it is in progress.
        runs = Counter(run.deployment_id for run in runs_in_progress())
        for deployment in deployments:
            issue = self._check(deployment, runs[deployment.id], min_seconds)
            if issue is not None:
                yield issue

    def _check(
        self, deployment: DeploymentResponse, n_runs: int, min_seconds: float
    ) -> Issue | None:
        limit = deployment.global_concurrency_limit
        if limit is None:
            return None
        unused = int(limit.active_slots) - n_runs
        if unused <= 0:
            self._unused_since.pop(limit.id, None)
            return None
        now = time.time()
        if now - self._unused_since.setdefault(limit.id, now) < min_seconds:
            return None
        message = f"{deployment.name}: {unused} of {limit.limit} slots are taken by no run"
        return Issue("slots", message, FIX, partial(self._release, limit.id, limit.name, unused))

    def _release(self, limit_id: UUID, name: str, slots: int) -> None:
        self._unused_since.pop(limit_id, None)
        with get_client(sync_client=True) as client:
            # Decremented, not set: a run may begin at this moment.
            client.request(
                "POST", "/v2/concurrency_limits/decrement", json={"names": [name], "slots": slots}
            )
