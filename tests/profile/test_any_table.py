"""Whatever a table holds: a recipe that loads, or one sentence."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.new_recipes import init

from creche.errors import CrecheError

ODD_CELLS = (
    *("", "NA", "?", "-", "yes", "no", "Yes", "0", "1", "1.5", "1,234", "1.234,5", "$ 5", "7%"),
    *("2020-02-29", "2020-02-30", "31.12.2020", "12/31/2020", "low", "high", "unknown", "007"),
    *("1e400", "-inf", "nan", "[1, 2]", "a: b", "#", "- x", "\u00e9", "'", "TRUE", "10:30"),
)
CELLS = st.one_of(
    st.sampled_from(ODD_CELLS),
    st.text(max_size=8),
    st.floats().map(str),
    st.integers().map(str),
)
COLUMNS = st.sampled_from(
    [
        st.just("same"),
        st.sampled_from(["a", "b"]),
        st.sampled_from(["yes", "no", ""]),
        st.sampled_from(["low", "med", "high", "?"]),
        st.integers(0, 9).map(str),
        st.floats(allow_nan=False).map(str),
        st.dates().map(str),
        CELLS,
    ]
)
CLASSES = st.sampled_from(["no", "yes"])
HEADERS = st.one_of(
    st.sampled_from(["a", "A ", "label", "row", "split", "probabilities", "x_mm", "", "yes", "1"]),
    st.text(max_size=6),
)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_table_gives_a_recipe_that_loads_or_a_sentence(
    tmp_path: Path, data: st.DataObject
) -> None:
    # Most tables have a label that can be learned, so that the other columns are looked at.
    has_classes = data.draw(st.integers(0, 3)) > 0
    rows = data.draw(st.integers(20, 60) if has_classes else st.integers(0, 40))
    names = data.draw(st.lists(HEADERS, min_size=2, max_size=5, unique=has_classes))
    columns = []
    for position in range(len(names)):
        is_label = position == 0 and has_classes
        cells = CLASSES if is_label else data.draw(COLUMNS)
        columns.append(data.draw(st.lists(cells, min_size=rows, max_size=rows)))
    separator = data.draw(st.sampled_from(",;"))
    lines = [names, *zip(*columns, strict=True)]
    text = "\n".join(separator.join(_quoted(cell) for cell in line) for line in lines)
    path = tmp_path / "table.csv"
    path.write_text(text, encoding="utf-8", errors="replace")
    bins = data.draw(st.sampled_from([None, None, 2, (0.0, 5.0)]))
    try:
        written = init(tmp_path, path, label=names[0], bins=bins)
    except CrecheError as error:
        assert str(error)
        assert len(str(error).splitlines()) == 1
        return
    assert written.recipe.classes
    assert init(tmp_path, path, label=names[0], bins=bins).text == written.text


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'
