"""The page of a scoring: `report.html` beside the manifest."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from support.observations import observations, published_bytes, score_paths
from support.projects import BIRD, PENGUINS, call_cli

from creche.api import project as api_project
from creche.data.quarantine import ReasonExample
from creche.data.sources import find_sources
from creche.errors import QuarantineError
from creche.model.artifact import Model
from creche.project import MANIFEST, SCORING_REPORT
from creche.records import KnownLabels, ScoringManifest
from creche.reporting import scoring_page as page_module
from creche.reporting.scoring_page import scoring_page
from creche.scoring.batch import score
from creche.scoring.label_figures import label_figures
from creche.scoring.label_sums import LabelSums
from creche.scoring.manifest import read_manifest

HOSTILE = "<script>alert('x')</script>&\"'"


class Page(HTMLParser):
    """The tables of a page by their heading, and every tag."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.paragraphs: list[str] = []
        self._heading = ""
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self._text = ""
        if tag == "tr":
            self.tables.setdefault(self._heading, []).append([])

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag in ("h1", "h2"):
            self._heading = self._text
        elif tag in ("td", "th"):
            self.tables[self._heading][-1].append(self._text)
        elif tag == "p":
            self.paragraphs.append(self._text)


def page_of(out: Path) -> Page:
    return Page((out / SCORING_REPORT).read_text(encoding="utf-8"))


def test_page_has_the_figures_of_the_manifest(model: Model, tmp_path: Path) -> None:
    manifest = score_paths([PENGUINS], model, tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert page.addresses == []
    known = manifest.known_labels
    assert known is not None
    accuracy = known.metrics["accuracy"]
    (_, *figures) = page.tables["Where the label is known"]
    assert figures[0] == [
        "accuracy",
        f"{accuracy.value:.4f} ({accuracy.low:.4f} to {accuracy.high:.4f})",
    ]
    matrix = [[int(cell) for cell in row[1:-1]] for row in page.tables["Confusion"][1:]]
    assert matrix == known.confusion_matrix
    classes = {row[0]: int(row[1]) for row in page.tables["Predicted classes"][1:]}
    assert classes == manifest.labels
    ood_rows = [int(row[1]) for row in page.tables["OOD scores"][1:]]
    assert ood_rows == [*(count.rows for count in manifest.ood_scores), 0]
    assert sum(ood_rows) == manifest.scored
    reasons = {row[0]: int(row[1]) for row in page.tables["Why rows are quarantined"][1:]}
    assert reasons == manifest.reasons
    assert page.tables["Files"][1][0] == str(PENGUINS)
    assert ["version", "1"] in page.tables["Model"]


def test_page_of_rows_without_labels_has_no_figures(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text(f"{','.join(BIRD)}\n{','.join(BIRD.values())}\n")
    score_paths([path], model, tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert set(page.tables) == {"Predicted classes", "OOD scores", "Files", "Model"}


def test_example_of_a_reason_is_its_first_cell_or_row(model: Model, tmp_path: Path) -> None:
    header = ",".join(BIRD)
    good = ",".join(BIRD.values())
    hostile = good.replace("5000", '"' + HOSTILE.replace('"', '""') + '"')
    lines = [header, good, good, hostile, good, good.replace("5000", "")]
    (tmp_path / "a.csv").write_text("\n".join([*lines, *[good] * 20]) + "\n")
    (tmp_path / "b.csv").write_text(f"{header}\n{good}\n{good},extra\n" + f"{good}\n" * 20)
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    score_paths(files, model, tmp_path / "out")
    text = (tmp_path / "out" / SCORING_REPORT).read_text()
    assert "<script" not in text
    rows = {row[0]: row[1:] for row in Page(text).tables["Why rows are quarantined"]}
    assert rows["body_mass_g: not a number"] == ["1", HOSTILE, f"{files[0]}, row 3"]
    assert rows["body_mass_g: missing"] == ["1", "", f"{files[0]}, row 5"]
    (malformed,) = [cells for reason, cells in rows.items() if reason.startswith("row: ")]
    assert malformed == ["1", "", f"{files[1]}, row 2"]


def test_every_value_is_escaped(model: Model, tmp_path: Path) -> None:
    manifest = score_paths([PENGUINS], model, tmp_path / "out")
    text = manifest.model_dump_json()
    for value in ("Adelie", "species", str(PENGUINS), "penguins", manifest.model.digest):
        text = text.replace(value, HOSTILE.replace('"', '\\"'))
    hostile = ScoringManifest.model_validate_json(text)
    hostile = hostile.model_copy(update={"reasons": {HOSTILE: 1}})
    page = scoring_page(hostile, {HOSTILE: ReasonExample(HOSTILE, HOSTILE)})
    assert "<script" not in page
    assert Page(page).tables["Why rows are quarantined"][1] == [HOSTILE, "1", HOSTILE, HOSTILE]


def test_refused_batch_has_a_page_that_says_so(model: Model, tmp_path: Path) -> None:
    header, cells = ",".join(BIRD), ",".join(BIRD.values())
    (tmp_path / "in.csv").write_text(f"{header}\n{cells}\n" + f"{cells.replace('5000', '5')}\n" * 2)
    with pytest.raises(QuarantineError):
        score_paths([tmp_path / "in.csv"], model, tmp_path / "out")
    page = page_of(tmp_path / "out")
    assert "Refused: 2 of 3 rows are quarantined" in page.paragraphs[0]
    assert "Predicted classes" not in page.tables


def test_page_is_the_same_bytes_again_and_replaced_or_removed(model: Model, tmp_path: Path) -> None:
    pq.write_table(observations(3000, 0), tmp_path / "in.parquet")
    out = tmp_path / "out"
    score_paths([tmp_path / "in.parquet"], model, out)
    first = published_bytes(out)
    assert SCORING_REPORT in first
    score_paths([tmp_path / "in.parquet"], model, out)
    assert published_bytes(out) == first
    # A later scoring without a page leaves none of an earlier one.
    score(find_sources([str(tmp_path / "in.parquet")]), model, "1", out)
    assert published_bytes(out).keys() == first.keys() - {SCORING_REPORT}


def test_long_lists_are_cut_and_the_most_frequent_confusions_shown(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = score_paths([PENGUINS], model, tmp_path / "out")
    classes = ("a", "b", "c")
    # Actual class × 4 + predicted class → rows.
    figures = label_figures("label", classes, LabelSums(confusion={0: 5, 1: 2, 6: 7, 11: 1}))
    assert isinstance(figures, KnownLabels)
    manifest = manifest.model_copy(
        update={"known_labels": figures, "inputs": manifest.inputs * 3, "reasons": {"x": 2, "y": 1}}
    )
    for name in ("MATRIX_CLASSES", "SHOWN_FILES", "SHOWN_REASONS", "SHOWN_CLASSES"):
        monkeypatch.setattr(page_module, name, 1)
    page = Page(scoring_page(manifest, {}))
    assert page.tables["Confusion"][1:] == [["b", "c", "7"], ["a", "b", "2"]]
    assert len(page.tables["Files (the first 1 of 3)"]) == 2
    assert page.tables["Why rows are quarantined (the 1 most frequent of 2 reasons)"][1][0] == "x"
    assert len(page.tables["Classes where the label is known (the first 1)"]) == 2


def test_command_names_the_page_or_how_to_have_it(
    champion_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = champion_project / "examples/observations.csv"
    command = ["score", str(example), "--recipe", "penguins", "--out", str(tmp_path / "out")]
    result = call_cli(champion_project, *command)
    assert result.stdout.endswith("quarantine.parquet, report.html, manifest.json\n"), result.stderr
    monkeypatch.setattr(api_project, "find_spec", lambda name: None)
    result = call_cli(champion_project, *command)
    assert re.search(r"no report\.html: run `pip install 'creche\[pipeline\]'`", result.stdout)
    assert not (tmp_path / "out" / SCORING_REPORT).exists()
    assert read_manifest(tmp_path / "out" / MANIFEST).scored == 37
