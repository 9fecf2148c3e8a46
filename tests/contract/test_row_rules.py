"""Rules across columns: what can be written, what it means, and that all executors agree on it."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from creche.contract import Column, Contract, RowRule
from creche.contract.expression_text import MAX_LENGTH, ExpressionError
from creche.data.batch import Batch, Violation
from creche.data.expectations import as_frame, validate_frame
from creche.data.quarantine import reasons_by_row
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource, TableSource

COLUMNS = {
    "x": Column("number", max=50),
    "y": Column("number"),
    "Body mass (g)": Column("number"),
    "sex": Column("category", values=("male", "female")),
    "pregnant": Column("category", values=("yes", "no")),
    "grade": Column("category", values=("low", "med", "high"), ordered=True),
    "best": Column("category", values=("low", "med", "high"), ordered=True),
    "note": Column("text"),
    "member": Column("boolean"),
    "born": Column("date"),
    "died": Column("date", formats=("%d.%m.%Y", "iso"), time_zone="Europe/Berlin"),
    "rings": Column("bins", edges=(1, 2)),
}
NUMBERS = [
    "x",
    "y",
    "`Body mass (g)`",
    "0",
    "1",
    "-2.5",
    "1e300",
    "x + y",
    "x - y",
    "x * y",
    "y / x",
]
COMPARISONS = ["==", "!=", "<", "<=", ">", ">="]
PREDICATES = st.one_of(
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["x", "x * 2", "-y", "x / (y - 1)", "x * 1e300 * y"]),
        st.sampled_from(COMPARISONS),
        st.sampled_from(NUMBERS),
    ),
    st.builds("0 <= {} < {}".format, st.sampled_from(["x", "y"]), st.sampled_from(NUMBERS)),
    st.builds("x {} [1, 2.0, -0]".format, st.sampled_from(["in", "not in"])),
    st.builds(
        "grade {} {}".format,
        st.sampled_from(COMPARISONS),
        st.sampled_from(["med", "'high'", "best"]),
    ),
    st.builds("sex {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(["male", "note"])),
    st.builds("note {} ['male', b]".format, st.sampled_from(["in", "not in"])),
    st.builds("member {} {}".format, st.sampled_from(["==", "!="]), st.sampled_from(["yes", "0"])),
    st.builds(
        "{} {} {}".format,
        st.sampled_from(["born", "died", "born + x", "died - 1e30"]),
        st.sampled_from(COMPARISONS),
        st.sampled_from(["died", "2000-01-01", "'1999-12-31T23:59:59'", "died + y / 3"]),
    ),
    st.builds("died - born {} {}".format, st.sampled_from(COMPARISONS), st.sampled_from(NUMBERS)),
    st.builds("rings {} {}".format, st.sampled_from(COMPARISONS), st.sampled_from(["1.5", "2"])),
    st.sampled_from(["member", "missing(died)", "missing(member)", "missing(rings)"]),
    st.builds("missing({})".format, st.sampled_from(["x", "sex", "note", "`Body mass (g)`"])),
)
EXPRESSIONS = st.recursive(
    PREDICATES,
    lambda parts: st.one_of(
        st.builds("not ({})".format, parts),
        st.builds("({}) and ({})".format, parts, parts),
        st.builds("({}) or ({})".format, parts, parts),
    ),
    max_leaves=4,
)
CELLS = {
    "number": ["", "0", "-0", "1", "2", "-2.5", "60", "1e30", "abc"],
    "category": ["", "male", "female", "yes", "no", "low", "med", "high", "Mars"],
    "text": ["", "male", "b", "1.0"],
    "boolean": ["", "yes", "No", "1", "maybe"],
    "date": [
        "",
        "2000-01-01",
        "1999-12-31T23:59:59",
        "31.12.1999",
        "9999-12-31",
        "0001-01-01",
        "x",
    ],
    "bins": ["", "0", "1", "1.5", "2", "abc"],
}
ROWS = st.lists(
    st.tuples(*[st.sampled_from(CELLS[column.kind]) for column in COLUMNS.values()]),
    min_size=1,
    max_size=12,
)


def rule(check: str, **options: str) -> RowRule:
    return RowRule.compile(check, COLUMNS, **options)


def contract(*rules: RowRule) -> Contract:
    return Contract(COLUMNS, rules)


def batch_of(rows: list[tuple[str, ...]], checked: Contract) -> Batch:
    columns = {}
    for name, cells in zip(COLUMNS, zip(*rows, strict=True), strict=True):
        columns[name] = pa.array(cells, pa.string())
    return TableReader(MemorySource.of(pa.table(columns), "x"), checked).read_all()


def batch_reasons(batch: Batch, violations: list[Violation]) -> list[list[str]]:
    reasons: list[list[str]] = reasons_by_row(violations, len(batch.row_numbers)).to_pylist()
    return reasons


def singly(rows: list[tuple[str, ...]], checked: Contract) -> list[list[str]]:
    reasons = []
    for row in rows:
        cells: dict[str, str | float | None] = dict(zip(COLUMNS, row, strict=True))
        reasons.append(checked.row_violations(cells))
    return reasons


@settings(max_examples=80, deadline=None, derandomize=True)
@given(EXPRESSIONS, st.none() | EXPRESSIONS, ROWS)
def test_arrow_masks_and_single_rows_refuse_the_same_rows(
    check: str, when: str | None, rows: list[tuple[str, ...]]
) -> None:
    checked = contract(RowRule.compile(check, COLUMNS, when))
    batch = batch_of(rows, checked)
    assert batch_reasons(batch, batch.check(checked)) == singly(rows, checked)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(st.lists(EXPRESSIONS, min_size=2, max_size=5, unique=True), ROWS)
def test_great_expectations_refuses_the_same_rows_for_the_same_reasons(
    checks: list[str], rows: list[tuple[str, ...]]
) -> None:
    checked = contract(*[rule(check) for check in checks])
    with tempfile.TemporaryDirectory() as folder:
        lines = [",".join(f'"{name}"' for name in COLUMNS)]
        lines += [",".join(row) for row in rows]
        Path(folder, "x.csv").write_text("\n".join(lines) + "\n")
        batch = TableReader(TableSource.local(Path(folder, "x.csv")), checked).read_all()
    violations = batch.merge(validate_frame(as_frame(batch, checked), checked))
    reasons = batch_reasons(batch, violations)
    assert reasons == batch_reasons(batch, batch.check(checked)) == singly(rows, checked)


def broken(expression: RowRule, **values: object) -> bool:
    return expression.is_broken_by(dict.fromkeys(COLUMNS) | values)


def test_rule_refuses_rows_where_when_is_true_and_check_is_false() -> None:
    not_male = rule("pregnant == no", when="sex == male", reason="a male is not pregnant")
    assert broken(not_male, sex="male", pregnant="yes")
    assert not broken(not_male, sex="female", pregnant="yes")
    assert not broken(not_male, sex="male", pregnant="no")
    assert not_male.reason == "a male is not pregnant"
    assert rule("x > y", when="x > 1").reason == "rule broken: x > y, where x > 1"


def test_row_with_a_missing_operand_keeps_the_rule() -> None:
    assert not broken(rule("x > y"), x=1.0)
    assert not broken(rule("not (x > y)"), x=1.0)
    # What decides although the rest is unknown.
    assert broken(rule("x > y and x > 2"), x=1.0)
    assert not broken(rule("x > y or x < 2"), x=1.0)
    assert not broken(rule("x > 2", when="y > 1"), x=1.0)


def test_column_that_must_be_there_in_some_rows_alone() -> None:
    required = rule("not missing(note)", when="sex == male")
    assert broken(required, sex="male")
    assert not broken(required, sex="male", note="a")
    assert not broken(required, sex="female")


def test_division_by_zero_refuses_nothing() -> None:
    assert not broken(rule("x / y > 1"), x=1.0, y=0.0)
    assert not broken(rule("x / y < 1"), x=1.0, y=0.0)


def test_cell_that_cannot_be_converted_breaks_no_rule() -> None:
    checked = contract(rule("missing(x)"), rule("not missing(x)"))
    cells: dict[str, str | float | None] = {"x": "abc"}
    assert checked.row_violations(cells) == ["x: not a number"]


def test_ordered_category_is_compared_by_its_order() -> None:
    assert broken(rule("grade <= med"), grade="high")
    assert not broken(rule("grade <= med"), grade="low")
    assert broken(rule("grade >= best"), grade="low", best="med")


@pytest.mark.parametrize(
    ("check", "message"),
    [
        ("x >", "'x >' cannot be read at position 4: write it as in"),
        ("x = 3", "at position 3: compare with == instead of ="),
        ("xx > 3", "at position 1: 'xx' is not under columns: did you mean 'x'?"),
        ("`Body mas` > 3", "'Body mas' is not under columns: did you mean 'Body mass (g)'?"),
        ("sex == mael", "at position 8: 'mael' as a value of sex is not one of male, female"),
        ("sex < male", "sex is a category without an order: use ==, != or in"),
        ("note < 'b'", "note is a text without an order"),
        ("x == sex", "compares a number (x) with a text (sex): compare two of one type"),
        ("x == '3'", "'3' is a text, and it is compared with the number x: use a number without"),
        ("sex == NA", "'NA' as a value of sex is a missing value: use missing(sex)"),
        ("1 == 2", "compares two values: name a column"),
        ("x", "x is no condition: compare it with a value, as in `age >= 18`"),
        ("missing(3)", "missing takes the name of one column"),
        ("open(x)", "open is no function: the only one is missing(COLUMN)"),
        ("x.real > 1", "x.real is neither column, value nor arithmetic"),
        ("x ** 2 > 1", "is no arithmetic of + - * /"),
        ("x > 1e999", "1e999 is no finite number"),
        ("x > 0x1A", "0x1A is no decimal number"),
        ("x > 1 # y", "a # begins no comment here"),
        ("x in y", "after `in` stands a list of values, as in [a, b]"),
        ("x is 3", "`is` compares nothing here: use == or !="),
        ("not " * 60 + "x > 1", "more than 50 parts within parts"),
        ("x > 1 or " * 300 + "x > 1", f"has more than {MAX_LENGTH:,} characters"),
        ("", "is empty"),
        ("born > 3", "'3' as a value of born is no date: use one like 2020-01-31"),
        ("born > '31.12.1999'", "as a value of born is not a date in the ISO form"),
        ("born * 2 > 3", "born * 2 is no arithmetic of dates: use DATE - DATE"),
        ("member == maybe", "'maybe' as a value of member is neither true nor false"),
        ("born > x", "compares a date (born) with a number (x)"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_answered_with_position_and_way_out(
    check: str, message: str
) -> None:
    with pytest.raises(ExpressionError) as error:
        rule(check)
    assert message in str(error.value)


@given(st.text(max_size=30) | EXPRESSIONS.map(lambda text: text[1:]))
def test_any_text_is_compiled_or_refused_with_a_sentence(text: str) -> None:
    try:
        rule(text)
    except ExpressionError as error:
        assert str(error)


def test_text_in_quotes_is_taken_as_it_stands() -> None:
    assert not broken(rule("""note == 'a "b" # \\n'"""), note='a "b" # \\n')
    assert not broken(rule("note == 1990-01-01"), note="1990-01-01")
    assert not broken(rule("sex == 'male'"), sex="male")


def test_dates_are_compared_as_moments() -> None:
    times = {name: datetime(2020, 1, day, tzinfo=UTC) for name, day in (("born", 1), ("died", 31))}
    assert not broken(rule("died >= born"), **times)
    assert not broken(rule("died - born == 30"), **times)
    assert not broken(rule("born + 30 == died"), **times)
    # A date without a zone is in the one of its column.
    assert not broken(rule("died == '2020-01-31T01:00'"), **times)
    assert not broken(rule("died > '31.01.2020'"), **times)


def test_contract_of_some_columns_has_the_rules_over_those_alone() -> None:
    checked = contract(rule("x > y"), rule("x > 1", when="sex == male"))
    assert [r.check for r in checked.subset(["x", "y"]).row_rules] == ["x > y"]
    assert checked.subset(["x"]).row_rules == ()
