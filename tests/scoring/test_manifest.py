"""The manifest and the scoring log: written as records, and read only in their own format."""

import json
import shutil
from pathlib import Path

import pytest
from support.projects import ROOT

from creche.data.sources import find_inputs, find_sources
from creche.errors import DataError
from creche.model.artifact import Model
from creche.project import MANIFEST, ProjectPaths, read_json, write_json
from creche.records import ScoringManifest, json_schemas
from creche.scoring.batch import score
from creche.scoring.lineage import find_row
from creche.scoring.manifest import read_manifest, summary_lines
from creche.scoring.scoring_log import SCORING_LOG, append_to_log, impact

OBSERVATIONS = str(ROOT / "examples/observations.csv")


@pytest.fixture
def out(model: Model, tmp_path: Path) -> Path:
    score(find_sources([OBSERVATIONS]), model, "1", tmp_path / "out")
    return tmp_path / "out"


def rewrite(path: Path, **changes: object) -> None:
    """Change keys of a JSON file; one whose value is None is removed."""
    content = {**read_json(path), **changes}
    write_json(path, {key: value for key, value in content.items() if value is not None})


def test_manifest_is_written_as_the_record_that_is_returned(model: Model, tmp_path: Path) -> None:
    manifest = score(find_sources([OBSERVATIONS]), model, "1", tmp_path / "out")
    written = read_json(tmp_path / "out" / MANIFEST)
    assert written == manifest.model_dump(mode="json")
    assert written["format"] == 4
    assert read_manifest(tmp_path / "out" / MANIFEST) == manifest


def test_schema_of_manifest_and_scoring_log_is_published() -> None:
    schemas = json_schemas()
    assert schemas[MANIFEST]["title"] == "ScoringManifest"
    assert schemas[SCORING_LOG]["title"] == "ScoringLogEntry"
    assert set(schemas[MANIFEST]["properties"]) == set(ScoringManifest.model_fields)


def test_manifest_and_summary_name_what_was_not_read(model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(OBSERVATIONS, folder / "part-00000")
    for name in ("README.md", "_SUCCESS", ".part-00000.crc"):
        (folder / name).write_text("")
    inputs = find_inputs([str(folder)])
    manifest = score(inputs.sources, model, "1", tmp_path / "out", skipped=inputs.skipped)
    skipped = [(entry.file, entry.kind) for entry in manifest.skipped]
    assert skipped == [(str(folder / "README.md"), "no file of observations")]
    assert manifest.hidden_files == 2
    assert read_manifest(tmp_path / "out" / MANIFEST) == manifest
    lines = summary_lines(manifest)
    assert f"not read: {folder}/README.md (no file of observations)" in lines
    assert "not read: 2 hidden or marker files" in lines


@pytest.mark.parametrize(("written", "stated"), [(None, 1), (3, 3), (5, 5)])
def test_manifest_of_another_format_is_refused_in_one_sentence(
    model: Model, out: Path, written: int | None, stated: int
) -> None:
    rewrite(out / MANIFEST, format=written)
    message = (
        f"{out / MANIFEST} has manifest format {stated}, and this version of creche reads format 4: "
        "score the files again with another --out"
    )
    before = (out / "predictions.parquet").read_bytes()
    with pytest.raises(DataError) as of_reading:
        read_manifest(out / MANIFEST)
    with pytest.raises(DataError) as of_tracing:
        find_row(f"{out}:1")
    with pytest.raises(DataError) as of_scoring:
        score(find_sources([OBSERVATIONS]), model, "1", out)
    assert {str(e.value) for e in (of_reading, of_tracing, of_scoring)} == {message}
    assert (out / "predictions.parquet").read_bytes() == before


def test_manifest_with_a_wrong_key_is_refused(out: Path) -> None:
    rewrite(out / MANIFEST, rows="many")
    with pytest.raises(DataError, match=r"manifest\.json is not a ScoringManifest record \(rows:"):
        read_manifest(out / MANIFEST)


def test_other_file_of_that_name_is_no_manifest(model: Model, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    for content in ("{}", "[1]", "not JSON"):
        (tmp_path / "out" / MANIFEST).write_text(content)
        with pytest.raises(DataError, match="is not the manifest of a scoring"):
            read_manifest(tmp_path / "out" / MANIFEST)
        with pytest.raises(DataError, match=r"holds 'manifest\.json', which no scoring left"):
            score(find_sources([OBSERVATIONS]), model, "1", tmp_path / "out")
        assert (tmp_path / "out" / MANIFEST).read_text() == content


def test_scoring_log_without_a_format_is_read(out: Path, tmp_path: Path) -> None:
    """Its lines had the same keys before they stated one."""
    paths = ProjectPaths(tmp_path, tmp_path / "var")
    append_to_log(out, read_manifest(out / MANIFEST), paths)
    log = paths.home / SCORING_LOG
    entry = json.loads(log.read_text())
    assert entry.pop("format") == 1
    log.write_text(json.dumps(entry) + "\n" + log.read_text())
    first, second = impact(paths)
    assert first == second


def test_file_name_with_a_line_separator_is_one_line_of_the_scoring_log(
    model: Model, tmp_path: Path
) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "var")
    path = tmp_path / "a\u2028b\x85.csv"
    path.write_bytes(Path(OBSERVATIONS).read_bytes())
    manifest = score(find_sources([str(path)]), model, "1", tmp_path / "out")
    append_to_log(tmp_path / "out", manifest, paths)
    (entry,) = impact(paths)
    assert [logged.file for logged in entry.inputs] == [str(path)]


def test_line_that_is_no_entry_of_the_scoring_log_is_named(out: Path, tmp_path: Path) -> None:
    paths = ProjectPaths(tmp_path, tmp_path / "var")
    append_to_log(out, read_manifest(out / MANIFEST), paths)
    log = paths.home / SCORING_LOG
    log.write_text(log.read_text() + '{"time": "now"}\n')
    with pytest.raises(DataError, match=r"scorings\.jsonl: line 2 is not an entry"):
        impact(paths)
