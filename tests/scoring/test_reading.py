"""How the training files are read is carried in the model file, and holds for those to score."""

from pathlib import Path

import openpyxl
import pytest
from support.projects import call_cli
from support.small_tables import run_steps, shops, write_recipe

from creche.contract.reading import CsvDialect
from creche.model.artifact import Model
from creche.provenance import md5_of

NAMES = ["grade", "city", "size_m2"]
DIALECT = {"header": "none", "names": NAMES, "encoding": "latin-1", "comment": "#"}


def lines(*columns: str) -> str:
    rows = shops(40).select(list(columns)).to_pylist()
    return "# shops\n" + "\n".join("|".join(str(row[name]) for name in columns) for row in rows)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose model was trained on a file of Latin 1 without a header."""
    root = tmp_path_factory.mktemp("project")
    (root / "x.csv").write_text(lines(*NAMES), encoding="latin-1")
    data = {"path": "x.csv", "md5": md5_of(root / "x.csv"), "csv": DIALECT}
    recipe = write_recipe(root, data)
    run_steps(root, recipe)
    return root


def score(project: Path, file: Path, out: Path, *options: str) -> tuple[int, str]:
    model = str(model_file_of(project))
    done = call_cli(project, "score", str(file), "--model", model, "--out", str(out), *options)
    return done.returncode, done.stdout + done.stderr


def model_file_of(project: Path) -> Path:
    return project / "run" / "model.onnx"


def test_model_file_has_the_reading(project: Path) -> None:
    reading = Model(model_file_of(project)).metadata.reading
    assert reading.csv == CsvDialect("none", tuple(NAMES), comment="#", encoding="latin-1")
    assert reading.label == "grade"


def test_file_of_the_same_kind_is_scored_without_more_words(project: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(lines(*NAMES), encoding="latin-1")
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out")
    assert (code, "40 of 40 rows scored" in output, "accuracy" in output) == (0, True, True)


def test_file_without_the_label_is_scored(project: Path, tmp_path: Path) -> None:
    (tmp_path / "new.csv").write_text(lines("city", "size_m2"), encoding="latin-1")
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out")
    assert (code, "40 of 40 rows scored" in output) == (0, True)


def test_file_with_a_header_is_scored_too(project: Path, tmp_path: Path) -> None:
    content = lines("size_m2", "city").replace("# shops\n", "size_m2|city\n")
    (tmp_path / "new.csv").write_text(content, encoding="latin-1")
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out")
    assert (code, "40 of 40 rows scored" in output) == (0, True)


def test_file_of_another_kind_is_scored_by_option(project: Path, tmp_path: Path) -> None:
    content = lines("city", "size_m2").replace("# shops\n", "city|size_m2\n").replace("|", "~")
    (tmp_path / "new.csv").write_text(content, encoding="utf-8")
    options = ("--csv", '{separator: "~"}')
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out", *options)
    assert (code, "40 of 40 rows scored" in output) == (0, True)
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out", "--csv", "{sep: x}")
    assert (code, "--csv {sep: x}: csv has an unknown key 'sep'" in output) == (2, True)
    code, output = score(project, tmp_path / "new.csv", tmp_path / "out", "--csv", "x")
    assert (code, "it is no mapping of keys" in output) == (2, True)


def test_workbook_is_scored(project: Path, tmp_path: Path) -> None:
    workbook = openpyxl.Workbook()
    workbook.active.append(["City", "Size (m²)"])
    workbook.active.append(["Bonn", 7])
    workbook.active.append(["Köln", "big"])
    workbook.active["B1"] = "Size m2"
    workbook.save(tmp_path / "new.xlsx")
    code, output = score(project, tmp_path / "new.xlsx", tmp_path / "out")
    assert (code, "1 of 2 rows scored" in output) == (0, True)
