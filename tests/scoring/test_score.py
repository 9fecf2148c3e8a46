import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.projects import BIRD, ROOT

from creche.data.sources import find_sources
from creche.errors import ContractError, DataError, QuarantineError
from creche.model.artifact import Model
from creche.project import MANIFEST, MODEL, QUARANTINE, RunPaths
from creche.recipe import Recipe
from creche.records import ScoringManifest
from creche.scoring import batch
from creche.scoring.manifest import read_manifest
from creche.scoring.single_row import predict
from creche.scoring.writer import OutputFormat

HEADER = ["ring", *BIRD]
GOOD = ["007", *BIRD.values()]


@pytest.fixture(scope="module")
def model(trained_run: tuple[Recipe, RunPaths, object]) -> Model:
    return Model(trained_run[1] / MODEL)


def score(
    files: list[Path],
    model: Model,
    version: str,
    out: Path,
    output_format: OutputFormat = "parquet",
) -> ScoringManifest:
    sources = find_sources([str(file) for file in files])
    return batch.score(sources, model, version, out, output_format)


def csv(path: Path, *rows: list[str], header: list[str] = HEADER) -> Path:
    path.write_text("".join(",".join(r) + "\n" for r in (header, *rows)))
    return path


def changed(**cells: str) -> list[str]:
    return ["007", *({**BIRD, **cells}).values()]


def test_every_row_comes_back_scored_or_quarantined(model: Model, tmp_path: Path) -> None:
    rows = [
        GOOD,
        changed(island="Signy"),
        GOOD,
        ["cut"],
        changed(body_mass_g="4.2", bill_depth_mm=""),
        GOOD,
        GOOD,
    ]
    manifest = score([csv(tmp_path / "in.csv", *rows)], model, "3", tmp_path / "out")
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
    assert [(q["row"], q["reasons"]) for q in quarantine] == [
        (2, ["island: not one of Biscoe, Dream, Torgersen"]),
        (5, ["bill_depth_mm: missing", "body_mass_g: below 2000 g"]),
        (4, ["row: 1 cells where the header has 6"]),
    ]
    assert (quarantine[1]["body_mass_g"], quarantine[1]["ring"]) == ("4.2", "007")
    assert read_manifest(tmp_path / "out" / MANIFEST) == manifest
    assert manifest.model.version == "3"
    assert manifest.model.digest == model.digest


def test_parquet_and_csv_of_the_same_rows_give_the_same_answers(
    model: Model, tmp_path: Path
) -> None:
    source = csv(tmp_path / "in.csv", *[changed(bill_length_mm=str(30 + i)) for i in range(25)])
    frame = pd.read_csv(source, dtype={"ring": str})
    frame.to_parquet(tmp_path / "in.parquet")
    score([source], model, "1", tmp_path / "a")
    score([tmp_path / "in.parquet"], model, "1", tmp_path / "b")
    one, two = (pq.read_table(tmp_path / d / "predictions.parquet").to_pandas() for d in "ab")
    pd.testing.assert_frame_equal(one, two)


def test_same_input_and_model_give_the_same_bytes(model: Model, tmp_path: Path) -> None:
    source = csv(tmp_path / "in.csv", GOOD, changed(island="Signy"), GOOD)
    for out in "ab":
        score([source], model, "1", tmp_path / out)
    for name in ("predictions.parquet", QUARANTINE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_csv_out_reads_back_as_parquet_does(model: Model, tmp_path: Path) -> None:
    source = csv(tmp_path / "in.csv", GOOD, GOOD)
    score([source], model, "1", tmp_path / "a", "csv")
    score([source], model, "1", tmp_path / "b")
    text = pd.read_csv(tmp_path / "a/predictions.csv", dtype={"ring": str})
    binary = pq.read_table(tmp_path / "b/predictions.parquet").to_pandas()
    assert text["ring"].tolist() == binary["ring"].tolist()
    assert np.allclose(text["probability_Chinstrap"], binary["probability_Chinstrap"])


def test_dates_beyond_pythons_are_written_as_they_are(model: Model, tmp_path: Path) -> None:
    times = pa.array([-(10**11), 0, 10**12], pa.timestamp("s"))
    birds = {n: [float(v) if n != "island" else v] * 3 for n, v in BIRD.items()}
    pq.write_table(pa.table({**birds, "seen": times}), tmp_path / "x.parquet")
    score([tmp_path / "x.parquet"], model, "1", tmp_path / "out", "jsonl")
    lines = [
        json.loads(line) for line in (tmp_path / "out/predictions.jsonl").read_text().splitlines()
    ]
    assert lines[1]["seen"] == "1970-01-01 00:00:00.000"  # Parquet keeps milliseconds
    assert (
        str(10**15) in lines[2]["seen"]
    )  # the year 33658, which neither Arrow nor Python can name


def test_several_files_keep_their_names(model: Model, tmp_path: Path) -> None:
    files = [csv(tmp_path / f"{n}.csv", GOOD) for n in ("north", "south")]
    manifest = score(files, model, "1", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out/predictions").iterdir()) == [
        "north.parquet",
        "south.parquet",
    ]
    assert manifest.scored == 2
    (tmp_path / "deep").mkdir()
    with pytest.raises(DataError, match="would give predictions of one name"):
        score([files[0], csv(tmp_path / "deep/north.csv", GOOD)], model, "1", tmp_path / "out2")


def test_batch_of_mostly_bad_rows_is_refused_and_its_quarantine_kept(
    model: Model, tmp_path: Path
) -> None:
    source = csv(tmp_path / "in.csv", GOOD, changed(body_mass_g="4.2"), changed(body_mass_g="4.2"))
    with pytest.raises(
        QuarantineError,
        match=r"2 of 3 rows break the contract, more than the 50%.*2 × body_mass_g: below",
    ):
        score([source], model, "1", tmp_path / "out")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [MANIFEST, QUARANTINE]
    assert json.loads((tmp_path / "out" / MANIFEST).read_text())["state"] == "refused"


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        ([], HEADER, "a header, and nothing under it"),
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
def test_file_that_cannot_be_scored_leaves_nothing(
    model: Model, tmp_path: Path, rows: list[list[str]], header: list[str], message: str
) -> None:
    text = "".join(",".join(r) + "\n" for r in (header, *rows))
    (tmp_path / "in.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as error:
        score([tmp_path / "in.csv"], model, "1", tmp_path / "out")
    assert message in str(error.value)
    left = [p.name for p in (tmp_path / "out").rglob("*")] if (tmp_path / "out").exists() else []
    assert "predictions.parquet" not in left


def test_folder_that_is_not_ours_is_left_alone(model: Model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/thesis.tex").write_text("mine")
    with pytest.raises(DataError, match=r"out holds 'thesis.tex', which no scoring left there"):
        score([csv(tmp_path / "in.csv", GOOD)], model, "1", tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["thesis.tex"]


def test_input_inside_the_output_folder_is_refused_and_unharmed(
    model: Model, tmp_path: Path
) -> None:
    source = csv(tmp_path / "predictions.csv", GOOD)
    for out in (tmp_path, source.parent):
        with pytest.raises(DataError, match=r"lies in .* itself"):
            score([source], model, "1", out)
    assert source.is_file()


def test_files_named_like_ours_are_not_ours_without_our_manifest(
    model: Model, tmp_path: Path
) -> None:
    (tmp_path / "out/predictions").mkdir(parents=True)
    (tmp_path / "out/predictions/thesis.csv").write_text("mine")
    with pytest.raises(DataError, match="out holds 'predictions'"):
        score([csv(tmp_path / "in.csv", GOOD)], model, "1", tmp_path / "out")
    assert (tmp_path / "out/predictions/thesis.csv").read_text() == "mine"


def test_columns_named_as_the_quarantines_own_keep_their_cells(
    model: Model, tmp_path: Path
) -> None:
    header = [*HEADER, "source", "row", "reasons", "malformed_line"]
    bad = [*changed(island="Signy"), "s", "r", "why", "x"]
    score(
        [csv(tmp_path / "in.csv", [*GOOD, "s", "r", "why", "x"], bad, header=header)],
        model,
        "1",
        tmp_path / "out",
    )
    row = pq.read_table(tmp_path / "out" / QUARANTINE).to_pylist()[0]
    assert (row["row"], row["row_given"], row["source_given"], row["reasons_given"]) == (
        2,
        "r",
        "s",
        "why",
    )


def test_quarantine_put_right_can_be_scored(model: Model, tmp_path: Path) -> None:
    score(
        [csv(tmp_path / "in.csv", GOOD, GOOD, changed(island="Dreem"), ["cut"])],
        model,
        "1",
        tmp_path / "out",
    )
    frame = pq.read_table(tmp_path / "out" / QUARANTINE).to_pandas()
    frame["island"] = frame["island"].replace("Dreem", "Dream")
    frame.to_parquet(tmp_path / "fixed.parquet")
    manifest = score([tmp_path / "fixed.parquet"], model, "1", tmp_path / "again")
    assert (manifest.scored, manifest.quarantined) == (1, 1)
    assert pq.read_table(tmp_path / "again" / QUARANTINE).num_rows == 1


def test_scoring_again_replaces_the_earlier_one_whole(model: Model, tmp_path: Path) -> None:
    score([csv(tmp_path / f"{n}.csv", GOOD) for n in "ab"], model, "1", tmp_path / "out")
    score([tmp_path / "a.csv"], model, "2", tmp_path / "out", "csv")
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        MANIFEST,
        "predictions.csv",
        QUARANTINE,
    ]


def test_failed_scoring_leaves_the_earlier_one_as_it_was(model: Model, tmp_path: Path) -> None:
    score([csv(tmp_path / "a.csv", GOOD)], model, "1", tmp_path / "out")
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    (tmp_path / "bad.csv").write_bytes(",".join(HEADER).encode() + b"\n007,Dr\xff,1,1,1,1\n")
    with pytest.raises(DataError, match="not UTF-8"):
        score([tmp_path / "bad.csv"], model, "1", tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_example_observations_are_scored(model: Model, tmp_path: Path) -> None:
    manifest = score([ROOT / "examples/observations.csv"], model, "1", tmp_path / "out")
    assert (manifest.rows, manifest.scored, manifest.quarantined) == (40, 37, 3)
    assert manifest.inputs[0].renamed["Culmen Length (mm)"] == "bill_length_mm"


def test_one_bird_gets_the_answer_of_a_batch(model: Model, tmp_path: Path) -> None:
    score([csv(tmp_path / "in.csv", GOOD)], model, "1", tmp_path / "out")
    row = pq.read_table(tmp_path / "out/predictions.parquet").to_pylist()[0]
    answer = predict(model, BIRD)
    assert answer.label == row["predicted_species"]
    assert answer.probabilities == {c: row[f"probability_{c}"] for c in model.classes}


def test_one_bird_may_be_weighed_in_kilograms(model: Model) -> None:
    bird = {("body_mass_kg" if n == "body_mass_g" else n): v for n, v in BIRD.items()} | {
        "body_mass_kg": "5"
    }
    assert predict(model, bird) == predict(model, BIRD)
    with pytest.raises(DataError, match="body_mass_g: not a number"):
        predict(model, {**bird, "body_mass_kg": "five"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {**BIRD, "island": "Signy", "body_mass_g": "4.2"},
            "refused: island: not one of .*; body_mass_g: below 2000 g",
        ),
        ({k: v for k, v in BIRD.items() if k != "island"}, "missing column island"),
        (
            {**BIRD, "beak": "1"},
            "'beak' is no column of this model: it takes island, bill_length_mm",
        ),
        ({**BIRD, "Island": "Dream"}, "both island"),
    ],
)
def test_bird_that_breaks_the_contract_is_refused_in_words(
    model: Model, given: dict[str, str], message: str
) -> None:
    with pytest.raises((DataError, ContractError), match=message):
        predict(model, given)
