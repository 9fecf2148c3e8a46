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
from prefect.states import Completed, Failed

from creche import registry
from creche.errors import CrecheError, QuarantineError
from creche.places import MANIFEST, Places, read_json
from creche.scoring.lineage import note
from creche.scoring.score import score as score_files
from creche.scoring.score import summary_lines
from creche.scoring.write import Format
from creche.sources import find
from flows import artifact_key


def _run_name() -> str:
    given = flow_run.parameters
    return f"{given['recipe']} · {Path(given['files'][0]).name}{' …' if len(given['files']) > 1 else ''}"


@flow(name="score", flow_run_name=_run_name)
def score(files: list[str], recipe: str, out: str, output: Format = "parquet", dask: str | None = None) -> State[Any]:
    """Score files with the recipe's champion, resolved once. Final states: Scored, Quarantined, Failed."""
    places = Places.find()
    run = None
    try:
        if dask:
            from creche.scoring.cluster import on_dask

            run = on_dask(dask)
        model, version = registry.open_model(recipe, places)
        sources = find(files)
        progress = create_progress_artifact(0.0, key=artifact_key("progress", recipe), description=f"{len(sources)} files")

        def on_file(done: int, total: int) -> None:
            update_progress_artifact(progress, 100 * done / total)  # type: ignore[arg-type]

        manifest = score_files(sources, model, version, Path(out), output, run, on_file)
        note(Path(out), manifest, places)
        state: State[Any] = Completed(name="Scored", message=summary_lines(manifest)[0])
    except QuarantineError as error:
        manifest, state = read_json(Path(out) / MANIFEST), Failed(name="Quarantined", message=str(error))
    except CrecheError as error:
        return Failed(message=str(error))
    lines = summary_lines(manifest)
    create_markdown_artifact(
        "\n\n".join([f"# {state.name}", f"> {state.message}", *lines[1:]]),
        key=artifact_key("score", recipe),
        description=state.message,
    )
    rows = [{"reason": reason, "rows": count} for reason, count in manifest["reasons"].items()]
    create_table_artifact([{"reason": "scored", "rows": manifest["scored"]}, *rows], key=artifact_key("scored", recipe))
    return state
