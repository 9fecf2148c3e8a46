"""The inbox: a file or a folder in CRECHE_HOME/inbox/<recipe>/ is scored once, by its content, and
moved to done/ or refused/.

A batch is submitted when two scans in a row have seen the same sizes and times; a folder must also
have been the same for `FOLDER_SECONDS`, since its files may be copied one by one. The idempotency
key of its run is made of its bytes and place, so that no scan submits it twice. A run that was
killed is submitted again, three attempts in all. Without a champion in a SQLite store nothing is
submitted, and the batch waits in the inbox. What is wrong with one item does not keep the others.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
)
from prefect.client.schemas.objects import FlowRun

from creche import registry
from creche.errors import DataError, RegistryError
from creche.operations.flow_runs import state_age
from creche.operations.inbox_folder import (
    DONE,
    REFUSED,
    SCORED,
    ItemError,
    digest,
    inbox_folder,
    items,
    move,
    output_name,
    stamp,
    unreadable_reason,
)
from creche.operations.service_log import Log
from creche.project import ProjectPaths

MAX_ATTEMPTS = 3
RETRY_SECONDS = 20.0  # after the first attempt; twice that after the second
UNREADABLE_SECONDS = 60.0  # that an item may be unreadable before it is refused
DEPLOYMENTS_SECONDS = 30.0  # between two reads of the deployments from the server
FOLDER_SECONDS = 10.0  # that a folder must not have changed: it may be copied file by file
DIGEST_LENGTH = 12  # characters of the SHA-256 in a folder's name


@dataclass(frozen=True)
class Batch:
    """A file or folder that is completely written."""

    path: Path
    sha256: str
    recipe: str
    deployment: UUID  # that scores the recipe's batches

    def idempotency_key(self, attempt: int) -> str:
        """Return the key under which the server creates a run only once."""
        status = self.path.stat()
        place = f"{status.st_ino}:{status.st_mtime_ns}"
        return f"{self.recipe}:{self.path.name}:{self.sha256}:{place}:{attempt}"

    @property
    def output_folder(self) -> Path:
        """Where its predictions are written."""
        return self.path.parent / SCORED / output_name(self.path, self.sha256[:DIGEST_LENGTH])


@dataclass
class SeenItem:
    """An item as it was at the last scan."""

    stamp: int
    since: float  # monotonic, s
    sha256: str | None = None


class Inbox:
    """Submits a scoring run for each batch; there is an inbox for each recipe with a score
    deployment.
    """

    def __init__(self, paths: ProjectPaths, log: Log) -> None:
        self._paths = paths
        self._log = log
        self._seen: dict[Path, SeenItem] = {}
        self._unreadable_since: dict[Path, float] = {}  # monotonic, s
        self._logged: dict[Path, str] = {}  # the last problem of an item or folder
        self._deployments: dict[str, UUID] = {}  # recipe → the deployment that scores its batches
        self._deployments_read = -DEPLOYMENTS_SECONDS  # monotonic, s

    def scan(self) -> None:
        """Submit what has arrived."""
        self._read_deployments()
        present: set[Path] = set()  # items, and the inboxes themselves
        for recipe, deployment in self._deployments.items():
            folder = inbox_folder(self._paths, recipe)
            present.add(folder)
            try:
                for name in (DONE, REFUSED):
                    (folder / name).mkdir(parents=True, exist_ok=True)
                waiting = items(folder)
            except OSError as error:
                self._log_once(folder, f"the inbox of {recipe} cannot be read: {error}")
                continue
            self._logged.pop(folder, None)
            for path in waiting:
                self._take(path, recipe, deployment)
            present.update(waiting)
        self._forget_all_but(present)

    def _read_deployments(self) -> None:
        """Read which recipes have an inbox, not at every scan: a request costs a hundred times what
        looking into an empty folder does.
        """
        if time.monotonic() - self._deployments_read < DEPLOYMENTS_SECONDS:
            return
        with get_client(sync_client=True) as client:
            deployments = client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=["score"]))
            )
        self._deployments = {}
        for deployment in deployments:
            recipe = str(deployment.parameters.get("recipe", deployment.name))
            self._deployments[recipe] = deployment.id
        self._deployments_read = time.monotonic()

    def _take(self, path: Path, recipe: str, deployment: UUID) -> None:
        """Submit an item, or refuse it; what goes wrong with it is logged once."""
        try:
            self._submit_or_refuse(path, recipe, deployment)
            self._logged.pop(path, None)
        except httpx.TransportError:
            # The server does not respond: no item can be submitted.
            raise
        except Exception as error:
            if isinstance(error, FileNotFoundError) and not os.path.lexists(path):
                # The run of an earlier scan has moved it meanwhile.
                return
            self._log_once(path, f"{path.name}: stays in the inbox: {error}")

    def _submit_or_refuse(self, path: Path, recipe: str, deployment: UUID) -> None:
        try:
            sha256 = self._digest_if_unchanged(path)
        except ItemError as error:
            self._refuse(path, str(error))
            return
        except (OSError, DataError) as error:
            # It may be in the middle of a copy, or on a disk that is away for a moment.
            since = self._unreadable_since.setdefault(path, time.monotonic())
            if time.monotonic() - since < UNREADABLE_SECONDS:
                raise
            reason = unreadable_reason(error) if isinstance(error, OSError) else str(error)
            self._refuse(path, reason)
            return
        self._unreadable_since.pop(path, None)
        if sha256 is not None:
            self._submit(Batch(path, sha256, recipe, deployment))

    def _refuse(self, path: Path, reason: str) -> None:
        move(path, REFUSED, reason)
        self._log("inbox", f"{path.name}: refused, {reason}")

    def _log_once(self, path: Path, message: str) -> None:
        if self._logged.get(path) != message:
            self._log("inbox", message)
        self._logged[path] = message

    def _forget_all_but(self, present: set[Path]) -> None:
        maps: tuple[dict[Path, Any], ...] = (self._seen, self._unreadable_since, self._logged)
        for by_path in maps:
            for path in by_path.keys() - present:
                del by_path[path]

    def _digest_if_unchanged(self, path: Path) -> str | None:
        """Return the SHA-256 of an item that has not changed for long enough."""
        current = stamp(path)
        if current is None:
            return None
        seen = self._seen.get(path)
        if seen is None or seen.stamp != current:
            self._seen[path] = SeenItem(current, time.monotonic())
            return None
        if path.is_dir() and time.monotonic() - seen.since < FOLDER_SECONDS:
            return None
        if seen.sha256 is None:
            seen.sha256 = digest(path)
        return seen.sha256

    def _submit(self, batch: Batch) -> None:
        """Create a run, unless one is in progress or has just ended; refuse the batch after the
        last attempt.
        """
        run = None
        for attempt in range(1, MAX_ATTEMPTS + 1):
            key = batch.idempotency_key(attempt)
            run = _find_run(key)
            if run is None:
                self._create_run(batch, key, attempt)
                return
            has_ended = run.state is not None and run.state.is_final()
            if not has_ended or state_age(run) < RETRY_SECONDS * attempt:
                return
        if run is not None and batch.path.exists():
            message = f"{MAX_ATTEMPTS} runs ended without a result"
            move(batch.path, REFUSED, f"{message}; the last one: {run.name}: {run.state}")
            self._log("inbox", f"{batch.path.name}: refused, {message}")

    def _create_run(self, batch: Batch, key: str, attempt: int) -> None:
        """Create a run on the server.

        Raises:
            RegistryError: the recipe has no champion, so that the run could only fail.
        """
        if self._has_no_champion(batch.recipe):
            raise RegistryError(
                f"{batch.recipe} has no champion yet: run `creche submit {batch.recipe}`; the "
                "batch is scored once there is one"
            )
        parameters = {
            "recipe": batch.recipe,
            "files": [str(batch.path)],
            "out": str(batch.output_folder),
            "batch": batch.sha256,
        }
        with get_client(sync_client=True) as client:
            client.create_flow_run_from_deployment(
                batch.deployment,
                parameters=parameters,
                idempotency_key=key,
                tags=["creche", "inbox", batch.recipe],
            )
        suffix = f", attempt {attempt}" if attempt > 1 else ""
        self._log("inbox", f"{batch.path.name}: to be scored by {batch.recipe}{suffix}")

    def _has_no_champion(self, recipe: str) -> bool:
        """Return whether a recipe is known to have no champion.

        Only a SQLite store is read: the client of an MLflow server takes seconds and 200 MB to
        import, which the supervisor must not spend.
        """
        if registry.store_location(self._paths).sqlite_file is None:
            return False
        return registry.champion_version(recipe, self._paths) is None


def _find_run(idempotency_key: str) -> FlowRun | None:
    key_filter = FlowRunFilterIdempotencyKey(any_=[idempotency_key])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key_filter))
    return runs[0] if runs else None
