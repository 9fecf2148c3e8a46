"""Validation of a table: which rows are quarantined and why, and what refuses the whole."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from support.projects import PENGUINS, ROOT

from creche.data.expectations import import_great_expectations
from creche.data.readers import csv
from creche.errors import ContractError, DataError, QuarantineError
from creche.pipeline import row_validation
from creche.pipeline.validate import ValidatedTable, run, validate
from creche.project import ACCEPTED, QUARANTINE, SOURCE, VALIDATION_REPORT, RunPaths, write_record
from creche.provenance import md5_of
from creche.recipe import load
from creche.records import SourceInfo
from creche.reporting import formats

RECIPE = load("penguins", ROOT)
LINES = PENGUINS.read_text().splitlines()


def validate_lines(tmp_path: Path, lines: list[str]) -> ValidatedTable:
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    return validate(tmp_path / "x.csv", "x.csv", RECIPE)


def with_row(row: str) -> list[str]:
    return [*LINES, row]


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,14.3,215,4.85,female", ["body_mass_g: below 2000 g"]),
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,46.8,-14.3,215,4850,", ["bill_depth_mm: below 10 mm"]),
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,inf,14.3,nan,4850,", ["bill_length_mm: not finite", "flipper_length_mm: missing"]),
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Signy,46.8,14.3,215,4850,", ["island: not one of Biscoe, Dream, Torgersen"]),
        ("PAL0910,N99A1,N99,2009-11-18,,Biscoe,46.8,14.3,215,4850,", ["species: no label, so left out of training"]),
        ("PAL0910,N99A1,N99,2009-11-18,King,Biscoe,46.8,14.3,215,4850,", ["species: not one of Adelie, Chinstrap, Gentoo"]),
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,n/m,14.3,215,4850,F", ["bill_length_mm: not a number", "sex: not one of female, male"]),
        ("PAL0910,N99A1,N99", ["row: 3 cells where the header has 11"]),
    ],
)  # fmt: skip
def test_bad_row_is_quarantined_unchanged_with_number_and_reasons(
    tmp_path: Path, row: str, reasons: list[str]
) -> None:
    result = validate_lines(tmp_path, with_row(row))
    last = result.quarantine.to_pylist()[-1]
    assert (last["row"], last["source"], last["reasons"]) == (345, "x.csv", reasons)
    original = last.get("malformed_line")
    if not original:
        original = ",".join(last[name] for name in LINES[0].split(","))
    assert original == row
    assert result.accepted.num_rows == 342


def test_two_birds_without_measurements_are_the_only_ones_refused(tmp_path: Path) -> None:
    result = validate_lines(tmp_path, LINES)
    assert (result.report.rows, result.report.accepted, result.report.quarantined) == (
        344,
        342,
        2,
    )
    assert result.quarantine["row"].to_pylist() == [4, 272]


def test_both_rows_of_a_repeated_bird_are_quarantined(tmp_path: Path) -> None:
    result = validate_lines(tmp_path, with_row(LINES[1]))
    assert result.report.reasons["study, species, individual: not unique"] == 2


def test_repeated_bird_in_another_block_is_quarantined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = validate_lines(tmp_path, with_row(LINES[1]))
    monkeypatch.setattr(row_validation, "BATCH_ROWS", 50)
    monkeypatch.setattr(csv, "BLOCK_BYTES", 4000)
    in_blocks = validate_lines(tmp_path, with_row(LINES[1]))
    assert in_blocks.accepted.to_pylist() == whole.accepted.to_pylist()
    assert in_blocks.quarantine.to_pylist() == whole.quarantine.to_pylist()
    assert in_blocks.report == whole.report


def test_missing_category_stays_missing_in_every_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_validation, "BATCH_ROWS", 50)
    paths = run_paths_for(tmp_path, [*LINES, *LINES[1:]])
    recipe = RECIPE.model_copy(update={"unique": ()})
    run(recipe, paths)
    sexes = pq.read_table(paths / ACCEPTED)["sex"]
    assert sexes.null_count == 18
    assert list(sexes.to_numpy()).count(None) == 18


@pytest.mark.parametrize("cells", [[1.5, 1.5, None, None, 2.0], [0.0, -0.0, None, 7.0, 2.0]])
def test_missing_value_repeats_no_other(cells: list[float | None]) -> None:
    recipe = RECIPE.model_copy(update={"unique": ("body_mass_g",)})
    whole = {"body_mass_g": pa.chunked_array([pa.array(cells, pa.float64())])}
    (violation,) = row_validation.violations_across_rows(whole, recipe)
    assert violation.mask.tolist() == [True, True, False, False, False]


def test_row_without_a_label_is_left_out_and_breaks_no_limit(tmp_path: Path) -> None:
    unlabeled = [
        ",".join([*line.split(",")[:4], "NA", *line.split(",")[5:]]) for line in LINES[5:99]
    ]
    paths = run_paths_for(tmp_path, [*LINES, *unlabeled])
    report = run(RECIPE, paths)
    assert (report.rows, report.accepted, report.quarantined) == (438, 342, 96)
    assert report.unlabeled == 94
    assert report.share_quarantined == 2 / 344
    quarantined = pq.read_table(paths / QUARANTINE)
    assert quarantined["reasons"].to_pylist()[-1][0] == "species: no label, so left out of training"
    assert "94 rows have no label" in (paths / VALIDATION_REPORT).read_text()
    assert formats.row_counts(report) == "342 accepted, 96 quarantined (94 of them without a label)"


def test_table_without_a_label_is_refused(tmp_path: Path) -> None:
    unlabeled = [",".join([*line.split(",")[:4], "", *line.split(",")[5:]]) for line in LINES[1:]]
    paths = run_paths_for(tmp_path, [LINES[0], *unlabeled])
    with pytest.raises(DataError, match="none of its 344 rows has a label: fill in column species"):
        run(RECIPE, paths)


def test_single_column_can_be_unique(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n".join(LINES) + "\n")
    by_individual = RECIPE.model_copy(update={"unique": ("individual",)})
    reasons = validate(tmp_path / "x.csv", "x.csv", by_individual).report.reasons
    assert reasons["individual: not unique"] > 200


def test_extra_column_is_ignored_and_reported(tmp_path: Path) -> None:
    header, *rows = LINES
    lines = [f"{header},observer", *(f"{row},x" for row in rows)]
    result = validate_lines(tmp_path, lines)
    assert result.report.ignored == ["observer"]
    assert result.report.accepted == 342


def test_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"x.csv: missing column island"):
        validate_lines(tmp_path, [line.replace("island", "isle_land_x") for line in LINES])


def test_header_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x.csv has a header but no rows"):
        validate_lines(tmp_path, LINES[:1])


def run_paths_for(tmp_path: Path, lines: list[str]) -> RunPaths:
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    source = SourceInfo(path="x.csv", version=md5_of(tmp_path / "x.csv"), bytes=1)
    write_record(tmp_path / "run" / SOURCE, source)
    return RunPaths(tmp_path, tmp_path / "var", tmp_path / "run")


def test_too_many_bad_rows_refuse_the_data_and_leave_the_quarantine(tmp_path: Path) -> None:
    kilograms = [
        line.replace(",3750,", ",3.75,").replace(",3800,", ",3.8,").replace(",3900,", ",3.9,")
        for line in LINES
    ]
    paths = run_paths_for(tmp_path, kilograms)
    with pytest.raises(
        QuarantineError,
        match=r"x.csv: 29 of 344 rows .* break the contract, .* below 2000 g \(row 1: '3.75'\)",
    ):
        run(RECIPE, paths)
    assert pq.read_table(paths / QUARANTINE).num_rows == 29


def test_table_without_an_accepted_row_is_refused(tmp_path: Path) -> None:
    paths = run_paths_for(tmp_path, [LINES[0], *(line.replace("0", "") for line in LINES[4:5])])
    with pytest.raises(QuarantineError, match="none of its 1 rows keeps the contract"):
        run(RECIPE, paths)


def test_file_that_changes_during_the_run_is_refused(tmp_path: Path) -> None:
    paths = run_paths_for(tmp_path, LINES)
    (tmp_path / "x.csv").write_text("\n".join(LINES[:-1]))
    with pytest.raises(DataError, match="changed while the run was reading it"):
        run(RECIPE, paths)


def test_validation_report_has_no_links_and_no_scripts(tmp_path: Path) -> None:
    paths = run_paths_for(
        tmp_path,
        with_row('PAL0910,N9A1,N9,,Gentoo,"<script>alert(1)</script>",46.8,14.3,215,4850,'),
    )
    run(RECIPE, paths)
    page = (paths / VALIDATION_REPORT).read_text()
    links: list[str] = []

    class LinkParser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "script":
                links.append(tag)
            for name, value in attrs:
                if name in ("src", "href"):
                    links.append(str(value))

    LinkParser().feed(page)
    assert not links
    assert "island: not one of" in page
    assert "http" not in page


def test_import_of_great_expectations_hides_spark_connect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = "import sys\n\nhidden = sys.modules['pyspark.sql.connect'] is None\n"
    (tmp_path / "great_expectations.py").write_text(package)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("great_expectations", "pyspark.sql.connect"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    assert import_great_expectations().hidden
    assert "pyspark.sql.connect" not in sys.modules
    # What monkeypatch restores is the library itself, where it was imported before.
    del sys.modules["great_expectations"]


@pytest.mark.slow
def test_pyspark_beside_great_expectations_neither_warns_nor_ends_the_process() -> None:
    script = (
        "from creche.data.expectations import import_great_expectations as gx; print(gx().__name__)"
    )
    command = [sys.executable, "-W", "error::FutureWarning", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.stdout, result.stderr, result.returncode) == ("great_expectations\n", "", 0)


def test_rows_that_break_a_rule_across_columns_are_quarantined(tmp_path: Path) -> None:
    content = yaml.safe_load((ROOT / "recipes/penguins.yaml").read_text())
    rule = {"check": "species == Gentoo", "when": "island == Biscoe and sex == male"}
    content["rules"] = ["bill_depth_mm < bill_length_mm / 2", rule]
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(content))
    recipe = load(str(tmp_path / "x.yaml"), tmp_path)
    report = validate(PENGUINS, "x.csv", recipe).report
    expected = (
        "rule broken: species == Gentoo, where island == Biscoe and sex == male",
        "rule broken: bill_depth_mm < bill_length_mm / 2",
    )
    table = pd.read_csv(PENGUINS)
    is_male = (table["island"] == "Biscoe") & (table["sex"] == "male")
    assert report.reasons[expected[0]] == (is_male & (table["species"] != "Gentoo")).sum()
    is_deep = table["bill_depth_mm"] >= table["bill_length_mm"] / 2
    assert report.reasons[expected[1]] == is_deep.sum()
