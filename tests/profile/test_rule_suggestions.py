"""Rules across columns that `creche init` suggests."""

import random
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml
from support.new_recipes import init

from creche.recipe import load

MARK = "# rules:\n"


def columns_of(rows: int = 200) -> dict[str, list[Any]]:
    chance = random.Random(0)
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("arrival", "leaving", "Price min", "Price max", "country", "visa", "label")
    }
    for row in range(rows):
        arrival = date(2024, 1, 1) + timedelta(days=chance.randrange(300))
        low = round(chance.uniform(1, 50), 2)
        country = chance.choice(["at home", "abroad", "far"])
        columns["arrival"].append(arrival)
        columns["leaving"].append(arrival + timedelta(days=chance.randrange(30)))
        columns["Price min"].append(low)
        columns["Price max"].append(low + round(chance.uniform(0, 9), 2))
        columns["country"].append(country)
        columns["visa"].append(chance.choice("AB") if country == "at home" else "")
        columns["label"].append("good" if (row + round(low)) % 3 else "bad")
    return columns


def suggested(text: str) -> list[Any]:
    """Return the rules that a recipe suggests, as YAML reads them without their #."""
    if MARK not in text:
        return []
    lines = []
    for line in text.partition(MARK)[2].splitlines():
        if not line.startswith("#   - "):
            break
        lines.append(line.removeprefix("#"))
    rules: list[Any] = yaml.safe_load("\n".join(lines))
    return rules


def test_rules_that_hold_and_look_meant_are_suggested_and_can_be_taken(tmp_path: Path) -> None:
    written = init(tmp_path, columns_of())
    rules = suggested(written.text)
    names = {column.lower(): column for column in written.recipe.columns}
    low, high = (names[name] for name in names if name.startswith("price"))
    lower = low if low.isidentifier() else f"`{low}`"
    upper = high if high.isidentifier() else f"`{high}`"
    assert rules == [
        "arrival <= leaving",
        f"{lower} <= {upper}",
        {"check": "not missing(visa)", "when": "country == 'at home'"},
    ]
    taken = tmp_path / "recipes/taken.yaml"
    taken.write_text(f"{written.text}\n{yaml.safe_dump({'rules': rules})}", encoding="utf-8")
    assert len(load("taken", tmp_path).row_rules) == 3
    assert written.recipe.row_rules == ()


def test_rule_that_a_row_breaks_is_not_suggested(tmp_path: Path) -> None:
    columns = columns_of()
    columns["leaving"][7] = columns["arrival"][7] - timedelta(days=1)
    columns["Price max"][7] = 0.5
    columns["visa"][columns["country"].index("far")] = "A"
    assert suggested(init(tmp_path, columns).text) == []
