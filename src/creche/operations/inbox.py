"""The inbox: a file in CRECHE_HOME/inbox/<recipe>/ is scored once, by its content, and moved to
done/ or refused/.

A batch is submitted when two scans in a row have seen the same size and time. The idempotency key
of its run is made of the file's bytes and place, so that no scan submits it twice. A run that was
killed is submitted again, three attempts in all.
"""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
)
from prefect.client.schemas.objects import FlowRun

from creche.operations.flow_runs import state_age
from creche.operations.service_log import Log
from creche.project import ProjectPaths
from creche.provenance import sha256_of

MAX_ATTEMPTS = 3
RETRY_SECONDS = 20.0  # after the first attempt; twice that after the second
DIGEST_LENGTH = 12  # characters of the SHA-256 in a folder's name
DONE = "done"
REFUSED = "refused"
SCORED = "scored"


@dataclass(frozen=True)
class FileVersion:
    """Identifies a content of a file without reading it."""

    path: Path
    size: int  # bytes
    modified: int  # ns since the epoch


@dataclass(frozen=True)
class Batch:
    """A file that is completely written."""

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
        name = f"{self.path.stem}-{self.sha256[:DIGEST_LENGTH]}"
        return self.path.parent / SCORED / name


class Inbox:
    """Submits a scoring run for each batch; there is an inbox for each recipe with a score
    deployment.
    """

    def __init__(self, paths: ProjectPaths, log: Log) -> None:
        self._paths = paths
        self._log = log
        self._seen: dict[Path, FileVersion] = {}  # at the last scan
        self._digests: dict[FileVersion, str] = {}

    def scan(self) -> None:
        """Submit what has arrived."""
        with get_client(sync_client=True) as client:
            deployments = client.read_deployments(
                flow_filter=FlowFilter(name=FlowFilterName(any_=["score"]))
            )
        for deployment in deployments:
            recipe = str(deployment.parameters.get("recipe", deployment.name))
            folder = self._paths.home / "inbox" / recipe
            for name in (DONE, REFUSED):
                (folder / name).mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir()):
                if path.name.startswith(".") or not path.is_file():
                    continue
                sha256 = self._digest_if_unchanged(path)
                if sha256 is not None:
                    self._submit(Batch(path, sha256, recipe, deployment.id))

    def _digest_if_unchanged(self, path: Path) -> str | None:
        """Return the SHA-256 of a file that has not changed since the last scan."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return None
        version = FileVersion(path, status.st_size, status.st_mtime_ns)
        if self._seen.get(path) != version:
            self._seen[path] = version
            return None
        if version not in self._digests:
            self._digests[version] = sha256_of(path)
        return self._digests[version]

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
        if run is not None and batch.path.is_file():
            message = f"{MAX_ATTEMPTS} runs ended before they could answer"
            move(batch.path, REFUSED, f"{message}; the last one: {run.name}: {run.state}")
            self._log("inbox", f"{batch.path.name}: refused, {message}")

    def _create_run(self, batch: Batch, key: str, attempt: int) -> None:
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


def _find_run(idempotency_key: str) -> FlowRun | None:
    key_filter = FlowRunFilterIdempotencyKey(any_=[idempotency_key])
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(idempotency_key=key_filter))
    return runs[0] if runs else None


def move(batch: Path, folder: str, reason: str = "") -> Path:
    """Move a batch out of the inbox; a file of the same name there is not replaced.

    Args:
        batch: the file in the inbox.
        folder: DONE or REFUSED.
        reason: written beside a refused batch.

    Returns:
        Where it is.
    """
    target = batch.parent / folder / batch.name
    number = 1
    while target.exists():
        number += 1
        target = batch.parent / folder / f"{batch.stem}-{number}{batch.suffix}"
    if reason:
        reason_file = target.with_name(f"{target.name}.reason.txt")
        reason_file.write_text(reason + "\n", encoding="utf-8")
    return batch.rename(target)
