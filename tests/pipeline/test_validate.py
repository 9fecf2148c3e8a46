import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.projects import PENGUINS, ROOT

from creche.errors import ContractError, DataError, QuarantineError
from creche.pipeline.validate import ValidatedTable, run, validate
from creche.project import QUARANTINE, SOURCE, VALIDATION_REPORT, RunPaths, write_record
from creche.provenance import md5_of
from creche.recipe import load
from creche.records import SourceInfo

RECIPE = load("penguins", ROOT)
LINES = PENGUINS.read_text().splitlines()


def checked(tmp_path: Path, lines: list[str]) -> ValidatedTable:
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
        ("PAL0910,N99A1,N99,2009-11-18,,Biscoe,46.8,14.3,215,4850,", ["species: missing"]),
        ("PAL0910,N99A1,N99,2009-11-18,King,Biscoe,46.8,14.3,215,4850,", ["species: not one of Adelie, Chinstrap, Gentoo"]),
        ("PAL0910,N99A1,N99,2009-11-18,Gentoo,Biscoe,n/m,14.3,215,4850,F", ["bill_length_mm: not a number", "sex: not one of female, male"]),
        ("PAL0910,N99A1,N99", ["row: 3 cells where the header has 11"]),
    ],
)  # fmt: skip
def test_bad_row_is_quarantined_as_it_came_with_number_and_reasons(
    tmp_path: Path, row: str, reasons: list[str]
) -> None:
    result = checked(tmp_path, with_row(row))
    last = result.quarantine.to_pylist()[-1]
    assert (last["row"], last["source"], last["reasons"]) == (345, "x.csv", reasons)
    given = row if last.get("malformed_line") else ",".join(last[h] for h in LINES[0].split(","))
    assert given == row
    assert result.accepted.num_rows == 342


def test_two_birds_without_measurements_are_the_only_ones_refused(tmp_path: Path) -> None:
    result = checked(tmp_path, LINES)
    assert (result.report.rows, result.report.accepted, result.report.quarantined) == (
        344,
        342,
        2,
    )
    assert result.quarantine["row"].to_pylist() == [4, 272]


def test_repeated_bird_is_quarantined_wherever_it_stands(tmp_path: Path) -> None:
    result = checked(tmp_path, with_row(LINES[1]))
    assert result.report.reasons["study, species, individual: not unique"] == 2


def test_single_column_can_be_unique(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("\n".join(LINES) + "\n")
    lonely = RECIPE.model_copy(update={"unique": ("individual",)})
    reasons = validate(tmp_path / "x.csv", "x.csv", lonely).report.reasons
    assert reasons["individual: not unique"] > 200


def test_extra_column_is_ignored_and_told(tmp_path: Path) -> None:
    result = checked(
        tmp_path, [line + (",x" if i else ",observer") for i, line in enumerate(LINES)]
    )
    assert result.report.ignored == ["observer"]
    assert result.report.accepted == 342


def test_missing_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"x.csv: missing column island"):
        checked(tmp_path, [line.replace("island", "isle_land_x") for line in LINES])


def test_header_only_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x.csv has a header but no rows"):
        checked(tmp_path, LINES[:1])


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
        match=r"x.csv: 29 of 344 rows \(\d+\.\d%\) break the contract, .* below 2000 g",
    ):
        run(RECIPE, paths)
    assert pq.read_table(paths / QUARANTINE).num_rows == 29


def test_not_one_sound_row_is_refused(tmp_path: Path) -> None:
    paths = run_paths_for(tmp_path, [LINES[0], *(line.replace("0", "") for line in LINES[4:5])])
    with pytest.raises(QuarantineError, match="none of its 1 rows keeps the contract"):
        run(RECIPE, paths)


def test_file_that_changes_under_the_run_is_noticed(tmp_path: Path) -> None:
    paths = run_paths_for(tmp_path, LINES)
    (tmp_path / "x.csv").write_text("\n".join(LINES[:-1]))
    with pytest.raises(DataError, match="changed while the run was reading it"):
        run(RECIPE, paths)


def test_report_needs_nothing_but_itself(tmp_path: Path) -> None:
    paths = run_paths_for(
        tmp_path,
        with_row('PAL0910,N9A1,N9,,Gentoo,"<script>alert(1)</script>",46.8,14.3,215,4850,'),
    )
    run(RECIPE, paths)
    page = (paths / VALIDATION_REPORT).read_text()
    links = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            links.extend([tag] * (tag == "script") + [v for k, v in attrs if k in ("src", "href")])

    Links().feed(page)
    assert not links
    assert "island: not one of" in page
    assert "http" not in page


def test_pyspark_beside_great_expectations_neither_warns_nor_ends_the_process() -> None:
    code = (
        "from creche.data.expectations import import_great_expectations as gx; print(gx().__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", "-c", code], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr, done.returncode) == ("great_expectations\n", "", 0)
