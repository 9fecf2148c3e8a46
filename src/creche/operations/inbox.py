"""The inbox: what is put into CRECHE_HOME/inbox/<recipe>/ is scored once, by its content, and moved
to done/ or refused/.

A batch is taken when it has lain still for two looks. The run is asked for under a name made of the
file's bytes and its place, so that no look asks twice; a run that was killed is asked for again, up
to three times.
"""

from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowFilter,
    FlowFilterName,
    FlowRunFilter,
    FlowRunFilterIdempotencyKey,
)
from prefect.types._datetime import now

from creche.project import ProjectPaths
from creche.provenance import sha256_of

ATTEMPTS = 3
AGAIN_SECONDS = 20.0  # after the first attempt; twice that after the second
DONE, REFUSED, SCORED = "done", "refused", "scored"
_seen: dict[Path, tuple[int, int]] = {}  # size and mtime at the last look
_digests: dict[tuple[Path, int, int], str] = {}


def folder(paths: ProjectPaths, recipe: str) -> Path:
    return paths.home / "inbox" / recipe


def scored(paths: ProjectPaths, recipe: str, digest: str, name: str) -> Path:
    """Where the predictions of a batch lie."""
    return folder(paths, recipe) / SCORED / f"{Path(name).stem}-{digest[:12]}"


def look(paths: ProjectPaths, say: Callable[[str, str], None]) -> None:
    """Ask for a run for each batch that has come; an inbox is there for each recipe with a score
    deployment.
    """
    with get_client(sync_client=True) as client:
        deployments = client.read_deployments(
            flow_filter=FlowFilter(name=FlowFilterName(any_=["score"]))
        )
    for deployment in deployments:
        recipe = str(deployment.parameters.get("recipe", deployment.name))
        inbox = folder(paths, recipe)
        for name in (DONE, REFUSED):
            (inbox / name).mkdir(parents=True, exist_ok=True)
        for batch in sorted(
            p for p in inbox.iterdir() if p.is_file() and not p.name.startswith(".")
        ):
            if digest := _still(batch):
                _ask(batch, digest, recipe, deployment.id, paths, say)


def _still(batch: Path) -> str | None:
    """The batch's SHA-256, once it has not changed between two looks."""
    try:
        stat = batch.stat()
    except FileNotFoundError:
        return None
    now = (stat.st_size, stat.st_mtime_ns)
    if _seen.get(batch) != now:
        _seen[batch] = now
        return None
    if (batch, *now) not in _digests:
        _digests[(batch, *now)] = sha256_of(batch)
    return _digests[(batch, *now)]


def _ask(
    batch: Path,
    digest: str,
    recipe: str,
    deployment: UUID,
    paths: ProjectPaths,
    say: Callable[[str, str], None],
) -> None:
    stat = batch.stat()
    with get_client(sync_client=True) as client:
        for attempt in range(1, ATTEMPTS + 1):
            key = f"{recipe}:{batch.name}:{digest}:{stat.st_ino}:{stat.st_mtime_ns}:{attempt}"
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(
                    idempotency_key=FlowRunFilterIdempotencyKey(any_=[key])
                )
            )
            if not found:
                asked = {
                    "recipe": recipe,
                    "files": [str(batch)],
                    "out": str(scored(paths, recipe, digest, batch.name)),
                }
                client.create_flow_run_from_deployment(
                    deployment,
                    parameters={**asked, "batch": digest},
                    idempotency_key=key,
                    tags=["creche", "inbox", recipe],
                )
                say(
                    "inbox",
                    f"{batch.name}: to be scored by {recipe}{f', attempt {attempt}' if attempt > 1 else ''}",
                )
                return
            state = found[0].state
            if (
                state is None
                or not state.is_final()
                or (now("UTC") - state.timestamp).total_seconds() < AGAIN_SECONDS * attempt
            ):
                return
    if batch.is_file():
        move(
            batch,
            REFUSED,
            f"{ATTEMPTS} runs ended before they could answer; the last one: {found[0].name}: {found[0].state}",
        )
        say("inbox", f"{batch.name}: refused, {ATTEMPTS} runs ended before they could answer")


def move(batch: Path, to: str, reason: str = "") -> Path:
    """Out of the inbox; what is there under the same name stays. A refused batch has its reason
    beside it.
    """
    target, number = batch.parent / to / batch.name, 1
    while target.exists():
        number += 1
        target = batch.parent / to / f"{batch.stem}-{number}{batch.suffix}"
    if reason:
        target.with_name(f"{target.name}.reason.txt").write_text(reason + "\n", encoding="utf-8")
    return batch.rename(target)
