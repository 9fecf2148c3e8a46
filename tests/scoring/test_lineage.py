import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.observations import with_decimal_comma
from support.projects import BIRD, ROOT

from creche.data.sources import find_sources
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import RunPaths
from creche.scoring.batch import score
from creche.scoring.lineage import find_row, replay
from creche.scoring.scoring_log import append_to_log, impact
from creche.scoring.writer import OutputFormat


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_prediction_is_traced_to_its_row_and_replays_bit_for_bit(
    model: Model, tmp_path: Path, output_format: OutputFormat
) -> None:
    score(
        find_sources([str(ROOT / "examples/observations.csv")]),
        model,
        "1",
        tmp_path / "out",
        output_format,
    )
    for reference in ("out:1", "out:37", f"out/predictions.{output_format}:2", "out:Ring=2026-001"):
        prediction = find_row(f"{tmp_path}/{reference}")
        assert prediction.manifest.model.digest == model.digest
        assert replay(model, prediction).same
    row = find_row(f"{tmp_path}/out:Ring=2026-001").row
    # A cell of a CSV file is text, as it is written.
    assert (row["island"], float(row["bill_length_mm"])) == ("Dream", 50.0)


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_identifier_that_looks_like_a_number_is_found_as_it_is_written(
    model: Model, tmp_path: Path, output_format: OutputFormat
) -> None:
    header = ",".join(["id", "note", *BIRD])
    lines = [",".join([f"000{i}", "NA", *BIRD.values()]) for i in range(1, 5)]
    (tmp_path / "x.csv").write_text("\n".join([header, *lines]) + "\n")
    score(find_sources([f"{tmp_path}/x.csv"]), model, "1", tmp_path / "out", output_format)
    prediction = find_row(f"{tmp_path}/out:id=0002")
    assert prediction.position == 1
    assert (prediction.row["id"], prediction.row["note"]) == ("0002", "NA")
    assert replay(model, prediction).same


@pytest.mark.parametrize("output_format", ["parquet", "csv", "jsonl"])
def test_number_that_was_read_with_a_decimal_comma_replays(
    model: Model, tmp_path: Path, output_format: OutputFormat
) -> None:
    comma_model = with_decimal_comma(model, "bill_length_mm", tmp_path / "model.onnx")
    bird = {**BIRD, "bill_length_mm": "50,4"}
    (tmp_path / "x.csv").write_text(f"{';'.join(bird)}\n{';'.join(bird.values())}\n")
    sources = find_sources([f"{tmp_path}/x.csv"])
    score(sources, comma_model, "1", tmp_path / "out", output_format)
    prediction = find_row(f"{tmp_path}/out:1")
    assert float(prediction.row["bill_length_mm"]) == 50.4
    assert replay(comma_model, prediction).same


def test_altered_row_does_not_replay(model: Model, tmp_path: Path) -> None:
    score(find_sources([str(ROOT / "examples/observations.csv")]), model, "1", tmp_path / "out")
    path = tmp_path / "out/predictions.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(4, "bill_depth_mm", pa.array([20.0] * 37)), path)
    assert not replay(model, find_row(f"{path}:1")).same


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("out:38", "has rows 1 to 37, not 38"),
        ("out:Ring=nobody", "0 rows of .* have Ring = nobody"),
        ("out:Beak=1", "has no column 'Beak'"),
        ("nowhere:1", "is no file of predictions of a scoring"),
        ("out", "is not OUT:ROW"),
    ],
)
def test_reference_to_no_prediction_is_refused(
    model: Model, tmp_path: Path, reference: str, message: str
) -> None:
    score(find_sources([str(ROOT / "examples/observations.csv")]), model, "1", tmp_path / "out")
    with pytest.raises(DataError, match=message):
        find_row(f"{tmp_path}/{reference}" if ":" in reference else reference)


@pytest.mark.parametrize("values", [[[1]], [b"\xff"]])
def test_row_is_not_named_by_values_that_are_no_text(
    model: Model, tmp_path: Path, values: list[object]
) -> None:
    table = pa.table({**{name: [cell] for name, cell in BIRD.items()}, "tag": values})
    pq.write_table(table, tmp_path / "x.parquet")
    score(find_sources([f"{tmp_path}/x.parquet"]), model, "1", tmp_path / "out")
    with pytest.raises(DataError, match=r"column 'tag' of .* name a row by its number"):
        find_row(f"{tmp_path}/out:tag=1")
    assert find_row(f"{tmp_path}/out:1").position == 0


def test_impact_lists_the_scorings_of_a_model_or_a_data_version(
    model: Model, tmp_path: Path
) -> None:
    paths = RunPaths(tmp_path, tmp_path / "var", tmp_path)
    assert impact(paths) == []
    for version in "12":
        manifest = score(
            find_sources([str(ROOT / "examples/observations.csv")]),
            model,
            version,
            tmp_path / version,
        )
        append_to_log(tmp_path / version, manifest, paths)
    assert [entry.out for entry in impact(paths, "penguins", "2")] == [str(tmp_path / "2")]
    assert len(impact(paths, data="416d54ad")) == 2
    assert len(impact(paths, version=model.digest[:12])) == 2
    assert impact(paths, "wine") == impact(paths, data="ffff") == []


def test_model_file_verifies_where_nothing_but_scoring_is_installed(
    model: Model, tmp_path: Path
) -> None:
    """Nothing that the pipeline extra installs can be imported."""
    block = "torch mlflow prefect great_expectations dvc pandas sklearn scipy matplotlib distributed fsspec tqdm"
    script = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name.split('.')[0] in {block.split()!r}: raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from creche.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    def run_creche(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, *arguments], cwd=tmp_path, capture_output=True, text=True
        )

    done = run_creche("verify", str(model.path), "--digest", model.digest)
    assert (done.returncode, done.stdout.split()[0]) == (0, "OK"), done.stderr
    assert "data_version    416d54adb83e9c38da7a3f3357f74a3e" in done.stdout
    assert run_creche("verify", str(model.path), "--digest", "0" * 64).returncode == 1
    example = str(ROOT / "examples/observations.csv")
    assert run_creche("score", example, "--model", str(model.path), "--out", "out").returncode == 0
    assert run_creche(
        "predict", str(model.path), *(f"{k}={v}" for k, v in BIRD.items())
    ).stdout.startswith("Chinstrap")
    done = run_creche("trace", "out:3", "--model", str(model.path))
    assert "bit for bit" in done.stdout, done.stderr
