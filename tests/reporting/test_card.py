"""The model card of a run."""

import json
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from support.evaluations import evaluation

from creche.contract import Column, Contract
from creche.model.preprocessor import Preprocessor
from creche.project import (
    CARD,
    EVALUATION,
    HISTORY,
    PREPROCESSOR,
    RUN,
    VERDICT,
    RunPaths,
    read_json,
    read_record,
    write_json,
)
from creche.recipe import Recipe
from creche.records import (
    EpochMetrics,
    Evaluation,
    ModelDescription,
    ModelInput,
    RunRecord,
    UnknownPredictions,
    UnseenValue,
)
from creche.registry import RecordedVerdict
from creche.reporting import formats, plots
from creche.reporting.sections import sections
from creche.reporting.seen_values import with_seen_values


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


def test_every_plot_has_a_title(
    trained_run: tuple[Recipe, RunPaths, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = trained_run[1]
    figures: list[Figure] = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))
    history = [EpochMetrics(**metrics) for metrics in read_json(paths / HISTORY)]
    plots.training_curves(history, "validation", paths / "x.png")
    plots.evaluation(read_record(paths / EVALUATION, Evaluation), paths / "x.png")
    verdict = RecordedVerdict(datetime.now(UTC), "run", "data", "PROMOTE", 0.9, 0.8, 1.0, 1)
    plots.accuracy_over_time([verdict])
    titles = [axes.get_title() for figure in figures for axes in figure.axes]
    assert len(titles) == 5
    assert all(titles)


def test_category_without_a_list_shows_the_values_seen_in_training(tmp_path: Path) -> None:
    columns = {"site": np.array(["b", "a", "b"]), "many": np.array([str(i) for i in range(30)])}
    encodings = dict.fromkeys(columns, "one-hot")
    contract = Contract(dict.fromkeys(columns, Column("category")))
    preprocessor = Preprocessor.fit(
        encodings,  # type: ignore[arg-type]
        ("x", "y"),
        columns,
        contract,
    )
    write_json(tmp_path / PREPROCESSOR, preprocessor.to_dict())
    inputs = []
    for name in columns:
        inputs.append(
            ModelInput(name=name, kind="category", unit=None, min=None, max=None, values="")
        )
    description = ModelDescription(
        description="", out_of_scope="", inputs=inputs, license="", citation=""
    )
    site, many = with_seen_values(description, tmp_path).inputs
    assert site.values == "seen in training: a, b"
    assert many.values.endswith(" and 10 more")
    assert with_seen_values(description, tmp_path / "elsewhere") == description


def test_license_and_citation_are_sentences_where_they_are_not_stated() -> None:
    assert formats.terms_of_data("CC0-1.0", "Gorman (2014)") == "License: CC0-1.0. Gorman (2014)"
    assert formats.terms_of_data("CC0-1.0", "not stated") == (
        "License: CC0-1.0. No citation is stated."
    )
    assert formats.terms_of_data("not stated", "not stated") == (
        "The recipe states neither license nor citation of the data."
    )


def test_card_names_the_values_that_training_did_not_have() -> None:
    unseen = [UnseenValue(column="odor", value=f"v{i}", rows=20 - i) for i in range(12)]
    unknown = UnknownPredictions(rows=40, unseen_values=unseen)
    run = RunRecord(
        run_id="r",
        recipe="mushrooms",
        trigger="manual",
        started="2026-01-01",
        evaluation=evaluation(unknown=unknown),
    )
    (holdout,) = (section for section in sections(run, None) if section.title == "Holdout")
    assert holdout.lines[2] == (
        "The OOD score is 0 on 1 of 60 rows, and tells them from 1000 of noise with an AUROC of "
        "0.970."
    )
    assert holdout.lines[3].startswith(
        "40 rows are predicted as unknown; 20 with odor 'v0', unseen in training; 19 with odor 'v1'"
    )
    assert holdout.lines[3].endswith("; and 2 more values unseen in training.")
