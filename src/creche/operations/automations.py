"""What the server does by itself: end runs whose process is gone, and tell a webhook what somebody
must know.
"""

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
REJECTED_AGAIN, MUCH_QUARANTINED = "creche.rejected-again", "creche.much-quarantined"
NOTICES = {  # automation's name → the events that it tells of
    "creche: notify of a failed run": {f"prefect.flow-run.{state}" for state in FAILED},
    "creche: notify of two rejections in a row": {REJECTED_AGAIN},
    "creche: notify of many quarantined rows": {MUCH_QUARANTINED},
}
PAYLOAD = """{
  "event": {{ event.event | tojson }},
  "subject": {{ (event.resource.get("prefect.resource.name") or event.resource.id) | tojson }},
  "message": {{ (event.resource.get("prefect.state-message") or event.payload.get("message") or "") | tojson }},
  "time": {{ (event.occurred | string) | tojson }}
}"""


def register(webhook: str) -> None:
    """Make or renew the automations; without a webhook nobody is told, and the notices go."""
    wanted = {MISSED_HEARTBEATS: _zombies()}
    if webhook:
        block: UUID = Webhook(method="POST", url=SecretStr(webhook)).save("creche", overwrite=True)  # type: ignore[assignment]
        wanted |= {name: _notice(name, events, block) for name, events in NOTICES.items()}
    for name in {MISSED_HEARTBEATS, *NOTICES}:
        try:
            there: Automation | None = Automation.read(name=name)  # type: ignore[assignment]
        except ValueError:
            there = None
        if there and name in wanted:
            wanted[name].id = there.id
            wanted[name].update()
        elif there:
            there.delete()
        elif name in wanted:
            wanted[name].create()


def _zombies() -> Automation:
    # Any event of the run counts, for its final states have names of ours.
    trigger = EventTrigger(
        after={HEARTBEAT},
        expect={"prefect.flow-run.*"},
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=timedelta(seconds=MISSED_HEARTBEAT_SECONDS),
    )
    message = f"no heartbeat for {MISSED_HEARTBEAT_SECONDS} s: its process, or its machine, is gone"
    return Automation(
        name=MISSED_HEARTBEATS,
        description="A run whose process was killed would be Running for ever, and hold its slot",
        trigger=trigger,
        actions=[
            ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)
        ],
    )


def _notice(name: str, events: set[str], block: UUID) -> Automation:
    trigger = EventTrigger(
        expect=events,
        match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*", "creche.*"]}),
        for_each={"prefect.resource.id"},
        posture=Posture.Reactive,
        threshold=1,
        within=timedelta(0),
    )
    return Automation(
        name=name, trigger=trigger, actions=[CallWebhook(block_document_id=block, payload=PAYLOAD)]
    )
