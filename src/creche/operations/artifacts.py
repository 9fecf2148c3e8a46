"""Show a run in the Prefect UI. All of it is for display: it decides nothing."""

import time
from collections.abc import Callable

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from creche import registry, settings
from creche.operations.prefect_environment import artifact_key, displayed
from creche.project import CARD, RunPaths
from creche.recipe import Recipe
from creche.records import Evaluation, RunRecord, ValidationReport, Verdict
from creche.reporting import formats
from creche.reporting.run_page import accuracy_markdown, gate_rows, run_markdown

PROGRESS_SECONDS = 2.0  # between two updates of the training's progress
PROGRESS_SHARE = 20  # an update may take one part in so many of the training's time


def label_run(record: RunRecord) -> None:
    """Name the flow run by what an operator looks for, and tag it for the filters."""
    version = record.source.version if record.source else "unknown"
    name = f"{record.recipe} · data {version[:8]} · {record.trigger} · {record.started}"
    tags = {*flow_run.tags, record.recipe, f"data {version[:12]}"}
    with displayed(), get_client(sync_client=True) as client:
        client.update_flow_run(flow_run.id, name=name, tags=tags)


def create_training_progress(recipe: str, total: int) -> Callable[[int], None]:
    """Create the progress artifact of a training, and return a callback that updates it.

    Args:
        total: rows over all epochs.
    """
    artifact_id = None
    next_update = 0.0  # monotonic, seconds
    with displayed():
        key = artifact_key("training", recipe)
        artifact_id = create_progress_artifact(0.0, key, f"of {total} rows over all epochs")

    def on_rows(rows: int) -> None:
        nonlocal next_update
        started = time.monotonic()
        is_due = started >= next_update or rows >= total
        if artifact_id is None or not is_due:
            return
        with displayed():
            update_progress_artifact(artifact_id, 100 * rows / total)  # type: ignore[arg-type]
        duration = time.monotonic() - started
        # A server that hangs must not hold up the training.
        next_update = started + max(PROGRESS_SECONDS, PROGRESS_SHARE * duration)

    return on_rows


def show_validation(recipe: Recipe, report: ValidationReport) -> None:
    """Show how many rows were accepted, and why the others were not."""
    rows: list[dict[str, str | int]] = [{"reason": "accepted", "rows": report.accepted}]
    for reason, count in report.reasons.items():
        rows.append({"reason": reason, "rows": count})
    share = f"({report.share_quarantined:.1%})"
    with displayed():
        create_table_artifact(
            rows,
            key=artifact_key("validation", recipe.name),
            description=f"{report.quarantined} of {report.rows} rows quarantined {share}",
        )


def show_run(recipe: Recipe, paths: RunPaths, record: RunRecord) -> None:
    """Show the run's page and, where there is a verdict, the gate and the accuracy over time."""
    newest_accuracy = f"/artifacts/key/{artifact_key('accuracy', recipe.name)}"
    links = [f"[accuracy of {recipe.name} over time]({newest_accuracy})"]
    with displayed():
        is_new = record.state != "Unchanged"
        if is_new and record.verdict and record.evaluation:
            gate_id = _show_gate(recipe, record.verdict)
            accuracy_id = _show_accuracy(recipe, paths, record.verdict, record.evaluation)
            links = [
                f"[the gate, check by check](/artifacts/artifact/{gate_id})",
                f"[accuracy of {recipe.name} over time](/artifacts/artifact/{accuracy_id}), "
                f"[its newest edition]({newest_accuracy})",
            ]
    with displayed():
        links += _links_outside_prefect(paths, record)
        folder = paths.run(record.run_id_of_files).folder
        create_markdown_artifact(
            run_markdown(record, recipe.describe(), folder, links),
            artifact_key("retrain", recipe.name),
            f"{record.state}: {record.message}",
        )


def _show_gate(recipe: Recipe, verdict: Verdict) -> object:
    description = f"{verdict.verdict}: {verdict.reason}"
    key = artifact_key("gate", recipe.name)
    return create_table_artifact(gate_rows(verdict), key, description)


def _show_accuracy(
    recipe: Recipe, paths: RunPaths, verdict: Verdict, evaluation: Evaluation
) -> object:
    recorded = registry.recorded_verdicts(recipe.name, paths)
    description = (
        f"{verdict.verdict}: accuracy {formats.accuracy(evaluation)}; "
        f"verdicts so far: {len(recorded)}"
    )
    page = accuracy_markdown(recipe.name, recorded)
    return create_markdown_artifact(page, artifact_key("accuracy", recipe.name), description)


def _links_outside_prefect(paths: RunPaths, record: RunRecord) -> list[str]:
    """Return where else there is something to see of a run, or of the one whose verdict holds."""
    files = paths.run(record.run_id_of_files)
    line = f"files `{files.folder}`"
    if (files / CARD).is_file():
        line += f", card `{CARD}` there"
    links = [line]
    mlflow = record.mlflow
    url = settings.mlflow_pages()
    if mlflow and url:
        page = f"{url.rstrip('/')}/#/experiments/{mlflow.experiment_id}/runs/{mlflow.mlflow_run_id}"
        links.append(f"[metrics in MLflow]({page})")
    return links
