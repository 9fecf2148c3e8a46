"""Automations of the Prefect server: mark runs without heartbeats as crashed, notify a webhook."""

from collections.abc import Collection
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.blocks.webhook import Webhook
from prefect.client.schemas.objects import StateType
from prefect.events.actions import CallWebhook, ChangeFlowRunState
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from pydantic import SecretStr

HEARTBEAT = "prefect.flow-run.heartbeat"
MISSED_HEARTBEAT_SECONDS = 90  # three heartbeats
MISSED_HEARTBEATS = "creche: mark runs without heartbeat as crashed"
FAILED = ("Failed", "Crashed", "TimedOut", "Refused")
REJECTED_AGAIN = "creche.rejected-again"
MUCH_QUARANTINED = "creche.much-quarantined"
NOTIFICATIONS: dict[str, set[str]] = {  # name of the automation → events that it notifies of
    "creche: notify of a failed run": {f"prefect.flow-run.{state}" for state in FAILED},
    "creche: notify of two rejections in a row": {REJECTED_AGAIN},
    "creche: notify of many quarantined rows": {MUCH_QUARANTINED},
}
# Jinja, filled in by the server: flow runs and recipes name their messages differently.
PAYLOAD = """{
  "event": {{ event.event | tojson }},
  "subject": {{ (event.resource.get("prefect.resource.name") or event.resource.id) | tojson }},
  "message": {{ (event.resource.get("prefect.state-message")
                 or event.payload.get("message") or "") | tojson }},
  "time": {{ (event.occurred | string) | tojson }}
}"""


def register(webhook: str) -> None:
    """Create or update the automations.

    Args:
        webhook: a URL; without one the automations that notify it are deleted.
    """
    automations = [_crash_without_heartbeats()]
    if webhook:
        block_id = _save_webhook(webhook)
        for name, events in NOTIFICATIONS.items():
            automations.append(_notification(name, events, block_id))
    for automation in automations:
        existing = _read(automation.name)
        if existing is None:
            automation.create()
        else:
            automation.id = existing.id
            automation.update()
    _delete_others({automation.name for automation in automations})


def _save_webhook(url: str) -> UUID:
    block = Webhook(method="POST", url=SecretStr(url))
    block_id: UUID = block.save("creche", overwrite=True)  # type: ignore[assignment]
    return block_id


def _read(name: str) -> Automation | None:
    try:
        automation: Automation = Automation.read(name=name)  # type: ignore[assignment]
    except ValueError:
        return None
    return automation


def _delete_others(wanted: Collection[str]) -> None:
    """Delete automations of an earlier configuration."""
    for name in NOTIFICATIONS:
        if name not in wanted:
            automation = _read(name)
            if automation is not None:
                automation.delete()


def _crash_without_heartbeats() -> Automation:
    """A run whose process was killed would be Running forever, and keep its slot."""
    trigger = EventTrigger(
        after={HEARTBEAT},
        # Any event of the run counts, because our final states have names of their own.
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED_HEARTBEAT_SECONDS),
    )
    message = f"no heartbeat for {MISSED_HEARTBEAT_SECONDS} s: its process, or its machine, is gone"
    action = ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
    return Automation(
        name=MISSED_HEARTBEATS,
        description="A killed run would be Running forever, and keep its slot",
        trigger=trigger,
        actions=[action],
    )


def _notification(name: str, events: set[str], block_id: UUID) -> Automation:
    trigger = EventTrigger(
        expect=events,
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*", "creche.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    action = CallWebhook(block_document_id=block_id, payload=PAYLOAD)
    return Automation(name=name, trigger=trigger, actions=[action])
