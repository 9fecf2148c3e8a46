"""The model card of a run."""

import json
from pathlib import Path

from creche.project import CARD, RUN, VERDICT, read_json


def test_card_states_verdict_data_and_reproduction(champion_project: Path) -> None:
    for path in champion_project.glob(f"var/runs/*/{RUN}"):
        if json.loads(path.read_text())["state"] == "Promoted":
            folder = path.parent
    card = (folder / CARD).read_text()
    for fact in (
        "Accuracy 1.0000 on 110 holdout rows",
        read_json(folder / VERDICT)["id"],
        "island Dream",
        "CC0-1.0",
        "Gorman KB",
        "Out of scope: chicks",
        "344 rows, 342 accepted, 2 quarantined",
        "creche reproduce penguins@1",
        "bill_length_mm",
    ):
        assert fact in card, fact
    for shown_once in ("95 % interval", "<th>recall</th>"):
        assert card.count(shown_once) == 1, shown_once
    assert card.count("data:image/png;base64,") == 2
    assert "http://" not in card
    assert "https://" not in card
