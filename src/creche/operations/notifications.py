"""Events of a run that the automations send to the webhook of whoever should know."""

from prefect.events import emit_event

from creche.operations.automations import MUCH_QUARANTINED, REJECTED_AGAIN
from creche.recipe import Recipe
from creche.records import REJECT, RunRecord


def emit_events(recipe: Recipe, record: RunRecord) -> None:
    """Emit the events of a run that has ended."""
    if record.state == "Unchanged":
        # Whoever should know was notified when the verdict was new.
        return
    resource = {
        "prefect.resource.id": f"creche.recipe.{recipe.name}",
        "prefect.resource.name": recipe.name,
    }
    is_rejected = record.verdict is not None and record.verdict.verdict == REJECT
    if is_rejected and record.last_judged_verdict == REJECT:
        message = f"rejected twice in a row; now: {record.message}"
        emit_event(REJECTED_AGAIN, resource, payload={"message": message})
    if record.state == "Quarantined":
        emit_event(MUCH_QUARANTINED, resource, payload={"message": record.message})
        return
    share = record.validation.share_quarantined if record.validation else 0.0
    if share > recipe.quarantine.max_share / 2:
        message = f"{share:.1%} of the rows are quarantined"
        emit_event(MUCH_QUARANTINED, resource, payload={"message": message})
