"""Show a scoring in the Prefect UI. All of it is for display: it decides nothing."""

from collections.abc import Callable
from typing import Any

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from creche.operations.prefect_environment import artifact_key, displayed
from creche.records import ScoringManifest
from creche.scoring.manifest import summary_lines


def scoring_progress(recipe: str) -> Callable[[int, int], None]:
    """Return a callback that shows how many of the files are scored."""
    artifact_id: Any = None  # Prefect types it as an awaitable, too

    def on_file(done: int, total: int) -> None:
        nonlocal artifact_id
        percent = 100 * done / total
        with displayed():
            if artifact_id is None:
                key = artifact_key("progress", recipe)
                artifact_id = create_progress_artifact(percent, key, f"{total} files")
            else:
                update_progress_artifact(artifact_id, percent)

    return on_file


def show_scoring(recipe: str, state: str, message: str, manifest: ScoringManifest) -> None:
    """Show the summary of a scoring, and its rows by reason.

    Args:
        state: the final state of the run, as the heading.
        message: the state's message.
    """
    summary = summary_lines(manifest)[1:]
    page = "\n\n".join([f"# {state}", f"> {message}", *summary])
    rows: list[dict[str, str | int]] = [{"reason": "scored", "rows": manifest.scored}]
    for reason, count in manifest.reasons.items():
        rows.append({"reason": reason, "rows": count})
    with displayed():
        create_markdown_artifact(page, artifact_key("score", recipe), message)
    with displayed():
        create_table_artifact(rows, artifact_key("scored", recipe))
