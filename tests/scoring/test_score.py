"""Scoring of files: predictions, quarantine and manifest, and single observations."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet as pq
import pytest
from support.observations import published_bytes, score_paths
from support.projects import BIRD, ROOT

from creche.data.readers.json import JsonReader
from creche.data.sources import find_sources
from creche.data.table_source import TableSource
from creche.errors import ContractError, DataError, QuarantineError
from creche.model.artifact import Model
from creche.project import MANIFEST, QUARANTINE, SCORING_REPORT
from creche.scoring import batch
from creche.scoring.executors import ThreadExecutor
from creche.scoring.jobs import ScoringJob
from creche.scoring.manifest import read_manifest
from creche.scoring.single_row import predict
from creche.scoring.staging import CommitRecord

HEADER = ["ring", *BIRD]
GOOD = ["007", *BIRD.values()]


def write_csv(path: Path, *rows: list[str], header: list[str] = HEADER) -> Path:
    path.write_text("".join(",".join(row) + "\n" for row in (header, *rows)))
    return path


def changed(**cells: str) -> list[str]:
    """Return a row that differs from a good one."""
    return ["007", *({**BIRD, **cells}).values()]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_every_row_is_scored_or_quarantined(model: Model, tmp_path: Path) -> None:
    rows = [
        GOOD,
        changed(island="Signy"),
        GOOD,
        ["cut"],
        changed(body_mass_g="4.2", bill_depth_mm=""),
        GOOD,
        GOOD,
    ]
    manifest = score_paths([write_csv(tmp_path / "in.csv", *rows)], model, tmp_path / "out", "3")
    assert (manifest.rows, manifest.scored, manifest.quarantined) == (7, 4, 3)
    predictions = pq.read_table(tmp_path / "out/predictions.parquet")
    assert predictions.column_names == [
        *HEADER, "predicted_species", "probability_Adelie", "probability_Chinstrap", "probability_Gentoo", "prediction_set",
        "ood_score", "model_version",
    ]  # fmt: skip
    assert predictions["ring"].to_pylist() == ["007"] * 4
    assert predictions["body_mass_g"].to_pylist() == [5000.0] * 4
    assert predictions["predicted_species"].to_pylist() == ["Chinstrap"] * 4
    quarantine = pq.read_table(tmp_path / "out" / QUARANTINE).to_pylist()
    assert [(row["row"], row["reasons"]) for row in quarantine] == [
        (2, ["island: not one of Biscoe, Dream, Torgersen"]),
        (5, ["bill_depth_mm: missing", "body_mass_g: below 2000 g"]),
        (4, ["row: 1 cells where the header has 6"]),
    ]
    assert (quarantine[1]["body_mass_g"], quarantine[1]["ring"]) == ("4.2", "007")
    assert read_manifest(tmp_path / "out" / MANIFEST) == manifest
    assert manifest.model.version == "3"
    assert manifest.model.digest == model.digest


def test_parquet_and_csv_of_the_same_rows_give_the_same_predictions(
    model: Model, tmp_path: Path
) -> None:
    rows = [changed(bill_length_mm=str(30 + i)) for i in range(25)]
    source = write_csv(tmp_path / "in.csv", *rows)
    pd.read_csv(source, dtype={"ring": str}).to_parquet(tmp_path / "in.parquet")
    score_paths([source], model, tmp_path / "a")
    score_paths([tmp_path / "in.parquet"], model, tmp_path / "b")
    of_csv = pq.read_table(tmp_path / "a/predictions.parquet").to_pandas()
    of_parquet = pq.read_table(tmp_path / "b/predictions.parquet").to_pandas()
    pd.testing.assert_frame_equal(of_csv, of_parquet)


def test_same_input_and_model_give_the_same_bytes(model: Model, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", GOOD, changed(island="Signy"), GOOD)
    score_paths([source], model, tmp_path / "a")
    score_paths([source], model, tmp_path / "b")
    published = published_bytes(tmp_path / "a")
    assert sorted(published) == ["predictions.parquet", QUARANTINE, SCORING_REPORT]
    assert published == published_bytes(tmp_path / "b")


def test_csv_predictions_read_back_as_parquet_does(model: Model, tmp_path: Path) -> None:
    source = write_csv(tmp_path / "in.csv", GOOD, GOOD)
    score_paths([source], model, tmp_path / "a", output_format="csv")
    score_paths([source], model, tmp_path / "b")
    of_csv = pd.read_csv(tmp_path / "a/predictions.csv", dtype={"ring": str})
    of_parquet = pq.read_table(tmp_path / "b/predictions.parquet").to_pandas()
    assert of_csv["ring"].tolist() == of_parquet["ring"].tolist()
    assert np.allclose(of_csv["probability_Chinstrap"], of_parquet["probability_Chinstrap"])


def test_dates_beyond_pythons_are_written_as_they_are(model: Model, tmp_path: Path) -> None:
    times = pa.array([-(10**11), 0, 10**12], pa.timestamp("s"))
    columns = {}
    for name, cell in BIRD.items():
        columns[name] = [cell if name == "island" else float(cell)] * 3
    pq.write_table(pa.table({**columns, "seen": times}), tmp_path / "x.parquet")
    score_paths([tmp_path / "x.parquet"], model, tmp_path / "out", output_format="jsonl")
    text = (tmp_path / "out/predictions.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    # Parquet has milliseconds.
    assert lines[1]["seen"] == "1970-01-01 00:00:00.000"
    # The year 33658 is one that neither Arrow nor Python can name.
    assert str(10**15) in lines[2]["seen"]


def test_json_lines_are_read_for_their_columns_once(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text((json.dumps({**BIRD, "ring": 7}) + "\n") * 3 + json.dumps({"note": 1}) + "\n")
    score_paths([source], model, tmp_path / "expected")
    original = JsonReader.read_header
    readings = []

    def count(reader: JsonReader, known: list[str] | None) -> list[str]:
        if known is None:
            readings.append(reader.source.name)
        return original(reader, known)

    monkeypatch.setattr(JsonReader, "read_header", count)
    manifest = score_paths([source], model, tmp_path / "out")
    assert (manifest.scored, manifest.quarantined) == (3, 1)
    assert readings == [str(source)]
    assert published_bytes(tmp_path / "out") == published_bytes(tmp_path / "expected")


def test_json_lines_that_change_before_they_are_scored_are_read_again(
    model: Model, tmp_path: Path
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(BIRD) + "\n")

    class Append(ThreadExecutor):
        def run(self, jobs: Sequence[ScoringJob]) -> Iterator[CommitRecord]:
            source.write_text(source.read_text() + json.dumps({**BIRD, "ring": "r"}) + "\n")
            return super().run(jobs)

    sources = find_sources([str(source)])
    batch.score(sources, model, "1", tmp_path / "out", executor=Append())
    predictions = pq.read_table(tmp_path / "out/predictions.parquet")
    assert predictions["ring"].to_pylist() == [None, "r"]


def test_predictions_of_several_files_have_their_names(model: Model, tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{name}.csv", GOOD) for name in ("north", "south")]
    manifest = score_paths(files, model, tmp_path / "out")
    assert names_in(tmp_path / "out/predictions") == ["north.parquet", "south.parquet"]
    assert manifest.scored == 2
    (tmp_path / "deep").mkdir()
    same_name = write_csv(tmp_path / "deep/north.csv", GOOD)
    with pytest.raises(DataError, match="would give predictions of one name"):
        score_paths([files[0], same_name], model, tmp_path / "out2")


def test_batch_of_mostly_bad_rows_is_refused_with_its_quarantine(
    model: Model, tmp_path: Path
) -> None:
    bad = changed(body_mass_g="4.2")
    source = write_csv(tmp_path / "in.csv", GOOD, bad, bad)
    message = (
        r"2 of 3 rows break the contract, more than the 50%.*"
        r"2 × body_mass_g: below 2000 g \(row 2: '4.2'\)"
    )
    with pytest.raises(QuarantineError, match=message):
        score_paths([source], model, tmp_path / "out")
    assert names_in(tmp_path / "out") == [MANIFEST, QUARANTINE, SCORING_REPORT]
    manifest = read_manifest(tmp_path / "out" / MANIFEST)
    assert (manifest.state, manifest.scored, manifest.withheld) == ("refused", 0, 1)


@pytest.mark.parametrize("first_mass", ["5", "0.0042"])
def test_example_of_a_reason_is_a_cell_of_its_own_file(
    model: Model, tmp_path: Path, first_mass: str
) -> None:
    in_kg = [name.replace("body_mass_g", "Body Mass (kg)") for name in HEADER]
    folder = tmp_path / "in"
    folder.mkdir()
    write_csv(folder / "a.csv", changed(body_mass_g=first_mass), header=in_kg)
    bad = changed(body_mass_g="4.2")
    write_csv(folder / "b.csv", GOOD, bad, bad, bad)
    message = r"\S+b\.csv, row 2: '4\.2'" if first_mass == "5" else r"\S+a\.csv, row 1: '0\.0042'"
    with pytest.raises(QuarantineError, match=rf"body_mass_g: below 2000 g \({message}\)"):
        score_paths([folder], model, tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "in.csv: no rows to score: a header, and nothing under it"),
        ([GOOD[1:]], ["isle", *HEADER[2:]], "missing column island"),
        ([[*GOOD, "x"]], [*HEADER, "Island"], "both island"),
        (
            [[*GOOD, "x"]],
            [*HEADER, "predicted_species"],
            "already has a column 'predicted_species'",
        ),
        ([[*GOOD, "\udcff"]], [*HEADER, "note"], "not UTF-8"),
    ],
)
def test_file_that_cannot_be_scored_leaves_no_predictions(
    model: Model, tmp_path: Path, rows: list[list[str]], header: list[str], message: str
) -> None:
    text = "".join(",".join(row) + "\n" for row in (header, *rows))
    (tmp_path / "in.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        score_paths([tmp_path / "in.csv"], model, tmp_path / "out")
    assert message in str(error.value)
    assert not list(tmp_path.rglob("predictions.parquet"))


def test_input_inside_the_output_folder_is_refused_and_unchanged(
    model: Model, tmp_path: Path
) -> None:
    source = write_csv(tmp_path / "predictions.csv", GOOD)
    content = source.read_bytes()
    for out in (tmp_path, source.parent):
        with pytest.raises(DataError, match=r"lies in .* itself"):
            score_paths([source], model, out)
    assert source.read_bytes() == content


def test_output_folder_may_be_called_as_the_bucket_of_the_input(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "store/birds").mkdir(parents=True)
    write_csv(tmp_path / "store/birds/in.csv", GOOD)
    system = pa.fs.SubTreeFileSystem(f"{tmp_path}/store", pa.fs.LocalFileSystem())
    source = TableSource("s3://birds/in.csv", "birds/in.csv", system, "in.csv")
    assert batch.score([source], model, "1", Path("birds")).scored == 1


def test_columns_named_as_those_of_the_quarantine_keep_their_cells(
    model: Model, tmp_path: Path
) -> None:
    header = [*HEADER, "source", "row", "reasons", "malformed_line"]
    good = [*GOOD, "s", "r", "why", "x"]
    bad = [*changed(island="Signy"), "s", "r", "why", "x"]
    source = write_csv(tmp_path / "in.csv", good, bad, header=header)
    score_paths([source], model, tmp_path / "out")
    row = pq.read_table(tmp_path / "out" / QUARANTINE).to_pylist()[0]
    assert row["row"] == 2
    assert (row["row_input"], row["source_input"], row["reasons_input"]) == ("r", "s", "why")


def test_corrected_quarantine_can_be_scored(model: Model, tmp_path: Path) -> None:
    rows = [GOOD, GOOD, changed(island="Dreem"), ["cut"]]
    score_paths([write_csv(tmp_path / "in.csv", *rows)], model, tmp_path / "out")
    frame = pq.read_table(tmp_path / "out" / QUARANTINE).to_pandas()
    frame["island"] = frame["island"].replace("Dreem", "Dream")
    frame.to_parquet(tmp_path / "fixed.parquet")
    manifest = score_paths([tmp_path / "fixed.parquet"], model, tmp_path / "again")
    assert (manifest.scored, manifest.quarantined) == (1, 1)
    assert pq.read_table(tmp_path / "again" / QUARANTINE).num_rows == 1


def test_scoring_again_replaces_the_earlier_one_as_a_whole(model: Model, tmp_path: Path) -> None:
    files = [write_csv(tmp_path / f"{name}.csv", GOOD) for name in "ab"]
    score_paths(files, model, tmp_path / "out")
    score_paths(files[:1], model, tmp_path / "out", "2", "csv")
    assert names_in(tmp_path / "out") == [MANIFEST, "predictions.csv", QUARANTINE, SCORING_REPORT]


def test_failed_scoring_leaves_the_earlier_one_as_it_was(model: Model, tmp_path: Path) -> None:
    score_paths([write_csv(tmp_path / "a.csv", GOOD)], model, tmp_path / "out")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    (tmp_path / "bad.csv").write_bytes(",".join(HEADER).encode() + b"\n007,Dr\xff,1,1,1,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        score_paths([tmp_path / "bad.csv"], model, tmp_path / "out")
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_example_observations_are_scored(model: Model, tmp_path: Path) -> None:
    manifest = score_paths([ROOT / "examples/observations.csv"], model, tmp_path / "out")
    assert (manifest.rows, manifest.scored, manifest.quarantined) == (40, 37, 3)
    assert manifest.inputs[0].renamed["Culmen Length (mm)"] == "bill_length_mm"


def test_single_observation_has_the_prediction_of_a_batch(model: Model, tmp_path: Path) -> None:
    score_paths([write_csv(tmp_path / "in.csv", GOOD)], model, tmp_path / "out")
    row = pq.read_table(tmp_path / "out/predictions.parquet").to_pylist()[0]
    prediction = predict(model, BIRD)
    assert prediction.label == row["predicted_species"]
    for class_name, probability in prediction.probabilities.items():
        assert probability == row[f"probability_{class_name}"]
    assert "|".join(prediction.prediction_set) == row["prediction_set"]
    assert prediction.ood_score == row["ood_score"]


def test_single_observation_may_have_further_columns(model: Model) -> None:
    prediction = predict(model, {**BIRD, "beak": "1"})
    assert prediction.ignored == ["beak"]
    assert prediction.probabilities == predict(model, BIRD).probabilities


def test_single_observation_may_state_kilograms(model: Model) -> None:
    bird = {name: cell for name, cell in BIRD.items() if name != "body_mass_g"}
    assert predict(model, {**bird, "body_mass_kg": "5"}) == predict(model, BIRD)
    with pytest.raises(DataError, match=r"body_mass_g: not a number \('five'\)"):
        predict(model, {**bird, "body_mass_kg": "five"})


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (
            {**BIRD, "island": "Signy", "body_mass_g": "4.2"},
            r"refused: island: not one of .* \('Signy'\); body_mass_g: below 2000 g \('4.2'\)",
        ),
        ({k: v for k, v in BIRD.items() if k != "island"}, "missing column island"),
        ({**BIRD, "Island": "Dream"}, "both island"),
    ],
)
def test_single_observation_that_breaks_the_contract_is_refused_with_reasons(
    model: Model, cells: dict[str, str], message: str
) -> None:
    with pytest.raises((DataError, ContractError), match=message):
        predict(model, cells)
