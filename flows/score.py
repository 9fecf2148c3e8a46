"""The score flow: the scoring engine with a page for the operator."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from creche import registry
from creche.data.sources import find_sources
from creche.errors import CrecheError, DataError, QuarantineError, UnreachableError
from creche.operations import inbox
from creche.operations.prefect_environment import artifact_key
from creche.project import MANIFEST, ProjectPaths
from creche.provenance import sha256_of
from creche.records import ScoringManifest
from creche.scoring.batch import score as score_files
from creche.scoring.executors import DaskExecutor
from creche.scoring.manifest import read_manifest, summary_lines
from creche.scoring.scoring_log import append_to_log, impact
from creche.scoring.writer import OutputFormat


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given['recipe']} · {Path(given['files'][0]).name}{' …' if len(given['files']) > 1 else ''}"


@flow(name="score", flow_run_name=_run_name)
def score(
    files: list[str],
    recipe: str,
    out: str,
    output: OutputFormat = "parquet",
    dask: str | None = None,
    batch: str | None = None,
) -> State[Any]:
    """Score files with the recipe's champion, resolved once.

    Args:
        batch: SHA-256 of the one file, where it comes from the inbox: it is then moved to done/, or
        to refused/ with a reason.

    Final states: Scored, Unchanged (a batch with these bytes was scored before), Quarantined,
    Failed.
    """
    paths = ProjectPaths.find()
    if batch:
        return _batch(Path(files[0]), batch, recipe, Path(out), paths)
    return _score(files, recipe, out, output, dask, paths)[0]


def _batch(file: Path, digest: str, recipe: str, out: Path, paths: ProjectPaths) -> State[Any]:
    if not file.is_file() or sha256_of(file) != digest:
        return Cancelled(message=f"{file.name} has changed or gone since it was seen in the inbox")
    before = next(out.parent.glob(f"*-{digest[:12]}/{MANIFEST}"), None)
    if before and read_manifest(before).scored:
        if not any(entry.out == str(before.parent.resolve()) for entry in impact(paths)):
            # The run that scored it was killed before it could log that.
            append_to_log(before.parent, read_manifest(before), paths)
        inbox.move(file, inbox.DONE)
        return Completed(
            name="Unchanged", message=f"{file.name} was scored before: {before.parent}"
        )
    state, fault = _score([str(file)], recipe, str(out), "parquet", None, paths)
    if state.is_completed():
        inbox.move(file, inbox.DONE)
    elif isinstance(fault, DataError) and not isinstance(fault, UnreachableError):
        moved = inbox.move(file, inbox.REFUSED, str(fault))
        state.message = f"{state.message}; the file is {moved}"
    return state


def _score(
    files: list[str],
    recipe: str,
    out: str,
    output: OutputFormat,
    dask: str | None,
    paths: ProjectPaths,
) -> tuple[State[Any], CrecheError | None]:
    fault = None
    executor = DaskExecutor(dask) if dask else None
    try:
        model, version = registry.open_model(recipe, paths)
        sources = find_sources(files)
        progress = create_progress_artifact(
            0.0, key=artifact_key("progress", recipe), description=f"{len(sources)} files"
        )

        def on_file(done: int, total: int) -> None:
            update_progress_artifact(progress, 100 * done / total)  # type: ignore[arg-type]

        manifest = score_files(sources, model, version, Path(out), output, executor, on_file)
        append_to_log(Path(out), manifest, paths)
        state: State[Any] = Completed(name="Scored", message=summary_lines(manifest)[0])
    except QuarantineError as error:
        fault = error
        manifest, state = (
            read_manifest(Path(out) / MANIFEST),
            Failed(name="Quarantined", message=str(error)),
        )
    except CrecheError as error:
        return Failed(message=str(error)), error
    _show(recipe, state, manifest)
    return state, fault


def _show(recipe: str, state: State[Any], manifest: ScoringManifest) -> None:
    lines = summary_lines(manifest)
    create_markdown_artifact(
        "\n\n".join([f"# {state.name}", f"> {state.message}", *lines[1:]]),
        key=artifact_key("score", recipe),
        description=state.message,
    )
    rows = [{"reason": reason, "rows": count} for reason, count in manifest.reasons.items()]
    create_table_artifact(
        [{"reason": "scored", "rows": manifest.scored}, *rows],
        key=artifact_key("scored", recipe),
    )
