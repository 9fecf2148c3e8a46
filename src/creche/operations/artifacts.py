"""What an operator sees of a run in the Prefect UI, and is told of it. All of it is for display: it
decides nothing.
"""

import os
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.events import emit_event
from prefect.runtime import flow_run

from creche import registry
from creche.gate import REJECT
from creche.operations.automations import MUCH_QUARANTINED, REJECTED_AGAIN
from creche.operations.prefect_environment import artifact_key, displayed
from creche.project import CARD, RunPaths
from creche.recipe import Recipe
from creche.reporting import report

PROGRESS_SECONDS = 2.0  # between two updates of the training's progress


def label(recipe: str, summary: dict[str, Any]) -> None:
    """What an operator knows a run by, and filters runs by."""
    version = summary.get("source", {}).get("version", "unknown")
    name = f"{recipe} · data {version[:8]} · {summary['trigger']} · {summary['started']}"
    with displayed(), get_client(sync_client=True) as client:
        client.update_flow_run(
            flow_run.id, name=name, tags={*flow_run.tags, recipe, f"data {version[:12]}"}
        )


def progress(recipe: str, total: int) -> Callable[[int], None]:
    identity, due = None, 0.0
    with displayed():
        identity = create_progress_artifact(
            0.0, artifact_key("training", recipe), f"of {total} rows over all epochs"
        )

    def show(rows: int) -> None:
        nonlocal due
        started = time.monotonic()
        if identity is None or (started < due and rows < total):
            return
        with displayed():
            update_progress_artifact(identity, 100 * rows / total)  # type: ignore[arg-type]
        took = time.monotonic() - started
        due = started + max(
            PROGRESS_SECONDS, 20 * took
        )  # a server that hangs shall not hold the training up

    return show


def show_validation(recipe: Recipe, summary: dict[str, Any]) -> None:
    rows = [{"reason": reason, "rows": count} for reason, count in summary["reasons"].items()]
    with displayed():
        create_table_artifact(
            [{"reason": "accepted", "rows": summary["accepted"]}, *rows],
            key=artifact_key("validation", recipe.name),
            description=f"{summary['quarantined']} of {summary['rows']} rows quarantined "
            f"({summary['share_quarantined']:.1%})",
        )


def show(recipe: Recipe, paths: RunPaths, summary: dict[str, Any]) -> None:
    """The run's page and, where there is a verdict, its gate and the accuracy over time."""
    over_time = f"/artifacts/key/{artifact_key('accuracy', recipe.name)}"
    links = [f"[accuracy of {recipe.name} over time]({over_time})"]
    with displayed():
        if verdict := summary.get("verdict"):
            gate = artifact_key("gate", recipe.name)
            table = create_table_artifact(
                report.gate_rows(verdict), gate, f"{verdict['verdict']}: {verdict['reason']}"
            )
            recorded = [asdict(v) for v in registry.recorded_verdicts(recipe.name, paths)]
            told = (
                f"{verdict['verdict']}: accuracy {report.accuracy(summary['evaluation'])}; "
                f"verdicts so far: {len(recorded)}"
            )
            page = create_markdown_artifact(
                report.accuracy_markdown(recipe.name, recorded),
                artifact_key("accuracy", recipe.name),
                told,
            )
            links = [
                f"[the gate, check by check](/artifacts/artifact/{table})",
                f"[accuracy of {recipe.name} over time](/artifacts/artifact/{page}), [its newest "
                f"edition]({over_time})",
            ]
    with displayed():
        links += _elsewhere(paths, summary)
        markdown = report.run_markdown(
            {**summary, "about": recipe.model_summary()}, paths.folder, links
        )
        create_markdown_artifact(
            markdown,
            artifact_key("retrain", recipe.name),
            f"{summary['state']}: {summary['message']}",
        )


def _elsewhere(paths: RunPaths, summary: dict[str, Any]) -> list[str]:
    """Where else there is something to see of a run, or of the one that it leans on."""
    shown = {**summary.get("last", {}), **summary}
    files = paths.run(summary.get("last", summary)["run"])
    found = [
        f"files `{files.folder}`" + (f", card `{CARD}` there" if (files / CARD).is_file() else "")
    ]
    if "mlflow" in shown and (url := os.environ.get("CRECHE_MLFLOW_URL")):
        page = "{experiment}/runs/{run}".format(**shown["mlflow"])
        found.append(f"[figures in MLflow]({url.rstrip('/')}/#/experiments/{page})")
    return found


def notify(recipe: Recipe, summary: dict[str, Any]) -> None:
    """Events for the automations, which tell whoever should know."""
    resource = {
        "prefect.resource.id": f"creche.recipe.{recipe.name}",
        "prefect.resource.name": recipe.name,
    }
    verdict, share = (
        summary.get("verdict"),
        summary.get("validation", {}).get("share_quarantined", 0.0),
    )
    if verdict and verdict["verdict"] == REJECT == summary.get("before"):
        emit_event(
            REJECTED_AGAIN,
            resource,
            payload={"message": f"rejected twice in a row; now: {summary['message']}"},
        )
    if summary["state"] == "Quarantined":
        emit_event(MUCH_QUARANTINED, resource, payload={"message": summary["message"]})
    elif share > recipe.quarantine.max_share / 2:
        emit_event(
            MUCH_QUARANTINED,
            resource,
            payload={"message": f"{share:.1%} of the rows are quarantined"},
        )
