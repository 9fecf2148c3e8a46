"""The score flow: the scoring engine with a page for the operator."""

from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from creche.api.project import Project
from creche.operations.inbox_batch import InboxBatch
from creche.operations.scoring_run import ScoringRun
from creche.scoring.writer import OutputFormat

COMPLETED_STATES = ("Scored", "Unchanged")


def _run_name() -> str:
    parameters = flow_run.parameters
    files = parameters["files"]
    suffix = " …" if len(files) > 1 else ""
    return f"{parameters['recipe']} · {Path(files[0]).name}{suffix}"


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
        files: files, globs, folders or URLs of CSV, JSON, Parquet, ORC, Arrow, images or CIFAR-10
            batches.
        recipe: its name.
        out: the folder of the predictions.
        output: format of the predictions.
        dask: address of a Dask scheduler that scores the files; by default this process does.
        batch: SHA-256 of the one file or folder, where it comes from the inbox: it is then moved to
            done/, or to refused/ with a reason.

    Final states: Scored, Unchanged (a batch with these bytes was scored before), Quarantined,
    Failed; Cancelled (the batch has changed since).
    """
    run = ScoringRun(Project(), recipe, output, dask)
    if batch:
        outcome = InboxBatch(Path(files[0]), batch, Path(out)).score(run)
    else:
        outcome = run.score(files, Path(out))
    if outcome.state == "Cancelled":
        return Cancelled(message=outcome.message)
    state = Completed if outcome.state in COMPLETED_STATES else Failed
    return state(name=outcome.state, message=outcome.message)
