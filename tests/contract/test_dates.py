"""Dates: a column gives what its cells give one by one, whatever carries them."""

from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from creche.contract import Column, Contract
from creche.contract.dates import MAX_SECONDS, MIN_SECONDS, NO_SUCH_DATE, NOT_ISO, YEAR_OUT_OF_RANGE
from creche.data.expectations import as_frame, validate_frame
from creche.data.quarantine import reasons_by_row
from creche.data.row_keys import hash_rows
from creche.data.table_reader import TableReader
from creche.data.table_source import MemorySource

BERLIN = "Europe/Berlin"
GERMAN = ("%d.%m.%Y", "%d.%m.%Y %H:%M")
COLUMNS = (
    Column("date"),
    Column("date", earliest="2000-01-01", latest="2023-02-28"),
    Column("date", time_zone=BERLIN, missing_values=("-", "1.1.1900")),
    Column("date", formats=GERMAN, time_zone="America/New_York"),
    Column("date", formats=("%m/%d/%Y %H:%M",), time_zone="America/Sao_Paulo"),
    Column("date", formats=("%d.%m.%Y",)),
    Column("date", formats=("iso", "%Y%m%d", "%d/%m/%Y", "%m/%d/%Y", "%d %b %Y %I:%M %p")),
)
MOMENTS = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999))
FORMS = (
    "%Y-%m-%d",
    "%m/%d/%Y %H:%M",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S.%fZ",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%Y%m%d",
)
ODD_TEXTS = (
    "2023-02-30", "0000-01-01", "2023-13-01", "2020-01-31 24:00", "2020-01-31 10:00+02:00",
    "2020-01-31 10:00 -0530", "2020-01-31T10:00:00.123456789Z", "31.01.2020", "29.02.2023",
    "01.01.0000", "03/04/2020", "31/12/2020", "20200131", "2021-03-28 02:30", "2021-10-31 02:30",
    "NaT", "NA", "", "-", "1.1.1900", "today", "2020-01-31 ", "20200131.0", "01 Jan 2020 01:30 PM",
    "1/2/2020 3:04", "02/30/2020 01:00", "10/21/2018 00:30", "2/17/2018 23:30", "1.2.2020",
    "13/01/2020 10:00", "01/01/0000 00:00", "01/02/2020 24:00", "0001-01-01 00:00+10:00", "9999-12-31 23:59:59", "2020-01-31 10", "2020-1-31",
)  # fmt: skip
TEXTS = st.sampled_from(ODD_TEXTS) | st.builds(
    lambda moment, form: moment.strftime(form), MOMENTS, st.sampled_from(FORMS)
)


def read(array: pa.Array, column: Column) -> tuple[list[Any], list[list[str]]]:
    """Return the values and reasons of an Arrow column, rules left out."""
    reader = TableReader(MemorySource.of(pa.table({"x": array}), "x"), Contract({"x": column}))
    batch = reader.read_all()
    return batch.values["x"].to_pylist(), reasons_by_row(
        batch.conversion_errors, len(array)
    ).to_pylist()


def parsed(cells: list[Any], column: Column) -> tuple[list[Any], list[list[str]]]:
    """Return the same of each cell by itself."""
    values: list[Any] = []
    reasons: list[list[str]] = []
    for cell in cells:
        try:
            values.append(column.type.parse(cell, column))
            reasons.append([])
        except ValueError as error:
            values.append(None)
            reasons.append([f"x: {error}"])
    return values, reasons


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: ",".join(column.formats) or "iso")
@settings(max_examples=25, deadline=None)
@given(cells=st.lists(TEXTS, min_size=1, max_size=12))
@example(cells=list(ODD_TEXTS))
def test_texts_are_dates_in_arrays_as_one_by_one(column: Column, cells: list[str]) -> None:
    expected = parsed(cells, column)
    assert read(pa.array(cells), column) == expected
    assert read(pa.array(cells).dictionary_encode(), column) == expected
    assert read(pa.array([cell.encode() for cell in cells]), column) == expected


@settings(max_examples=40, deadline=None)
@given(moments=st.lists(MOMENTS, min_size=1), unit=st.sampled_from(["s", "ms", "us"]))
def test_every_carrier_gives_the_same_moments(moments: list[datetime], unit: str) -> None:
    whole = [moment.replace(microsecond=0) for moment in moments]
    zone = timezone(timedelta(hours=2))
    zoned = [moment.replace(tzinfo=zone) for moment in whole if 2 < moment.year < 9998]
    for column in (Column("date"), Column("date", time_zone=BERLIN)):
        texts = [moment.isoformat(" ") for moment in whole]
        expected = read(pa.array(texts), column)
        assert expected == parsed(texts, column) == parsed(list(whole), column)
        assert read(pa.array(whole, pa.timestamp(unit)), column) == expected
        assert read(pa.array(zoned, pa.timestamp(unit, "+02:00")), column) == parsed(
            list(zoned), column
        )
        days = [moment.date() for moment in moments]
        of_days = parsed(list(days), column)
        assert read(pa.array(days), column) == of_days
        assert read(pa.array(days, pa.date64()), column) == of_days
        assert read(pa.array([day.isoformat() for day in days]), column) == of_days


@settings(max_examples=20, deadline=None)
@given(moments=st.lists(MOMENTS, min_size=1))
def test_row_keys_are_those_of_the_moments(moments: list[datetime]) -> None:
    contract = Contract({"x": Column("date")})
    whole = [moment.replace(microsecond=0) for moment in moments]
    texts = pa.array([moment.isoformat() for moment in whole])
    keys = []
    for array in (texts, pa.array(whole, pa.timestamp("s")), pa.array(whole, pa.timestamp("us"))):
        table = pa.table({"x": array})
        batch = TableReader(MemorySource.of(table, "x"), contract).read_all()
        keys.append(hash_rows([batch.values["x"]], 0).tolist())
    assert keys[0] == keys[1] == keys[2]


def test_what_is_finer_than_a_microsecond_is_cut_off_towards_the_past() -> None:
    column = Column("date")
    texts = ["1969-12-31 23:59:59.999999999", "2020-01-01 00:00:00.000000999"]
    nanoseconds = pa.array(pd.to_datetime(texts, format="ISO8601").astype("datetime64[ns]"))
    assert nanoseconds.type.unit == "ns"
    assert read(nanoseconds, column) == read(pa.array(texts), column) == parsed(texts, column)


def test_year_that_python_does_not_have_is_a_reason_in_every_type() -> None:
    for array in (pa.array([2**60], pa.timestamp("s")), pa.array([-800_000], pa.date32())):
        assert read(array, Column("date")) == ([None], [[f"x: {YEAR_OUT_OF_RANGE}"]])


@pytest.mark.parametrize(
    ("cell", "reason"),
    [
        ("2023-02-30", NO_SUCH_DATE),
        ("0000-01-01", YEAR_OUT_OF_RANGE),
        ("31.01.2020", NOT_ISO),
        (20200131, NOT_ISO),
        (True, NOT_ISO),
    ],
)
def test_cell_that_is_no_date_has_one_reason(cell: Any, reason: str) -> None:
    assert parsed([cell], Column("date")) == ([None], [[f"x: {reason}"]])
    assert read(pa.array([cell]), Column("date")) == ([None], [[f"x: {reason}"]])


def test_declared_formats_are_the_only_ones_and_must_agree() -> None:
    german = Column("date", formats=("%d.%m.%Y",))
    _, reasons = parsed(["31.01.2020", "2020-01-31", "30.02.2020"], german)
    assert reasons == [[], ["x: not a date in the format %d.%m.%Y"], [f"x: {NO_SUCH_DATE}"]]
    both = Column("date", formats=("%d/%m/%Y", "%m/%d/%Y"))
    values, reasons = parsed(["31/12/2020", "01/02/2020", "02/02/2020"], both)
    assert reasons == [[], ["x: %d/%m/%Y and %m/%d/%Y read different dates"], []]
    assert values[2] == datetime(2020, 2, 2, tzinfo=UTC)


def test_local_time_is_that_of_the_zone_and_the_hour_that_clocks_skip_is_refused() -> None:
    column = Column("date", time_zone=BERLIN)
    values, reasons = parsed(["2021-07-01 12:00", "2021-03-28 02:30", "2021-10-31 02:30"], column)
    assert values[0] == datetime(2021, 7, 1, 10, tzinfo=UTC)
    assert reasons[1] == ["x: a time that does not exist in Europe/Berlin"]
    # Of a time that clocks show twice, it is the first.
    assert values[2] == datetime(2021, 10, 31, 0, 30, tzinfo=UTC)


def test_limits_refuse_the_same_rows_in_all_executors() -> None:
    contract = Contract({"x": COLUMNS[1], "y": Column("date", required=True)})
    cells = ["1999-12-31 23:59:59.999999", "2000-01-01", "2023-02-28 23:59", "2023-03-01", "", "x"]
    table = pa.table({"x": cells, "y": cells})
    batch = TableReader(MemorySource.of(table, "x"), contract).read_all()
    masks = reasons_by_row(batch.check(contract), len(cells)).to_pylist()
    violations = batch.merge(validate_frame(as_frame(batch, contract), contract))
    assert reasons_by_row(violations, len(cells)).to_pylist() == masks
    assert [contract.row_violations({"x": cell, "y": cell}) for cell in cells] == masks
    assert masks[0] == ["x: before 2000-01-01"]
    assert masks[1] == masks[2] == []
    assert masks[3] == ["x: after 2023-02-28"]
    assert masks[4] == ["y: missing"]


@given(st.lists(MOMENTS, min_size=1))
def test_model_takes_the_same_seconds_of_cells_and_columns(moments: list[datetime]) -> None:
    column = Column("date")
    cells = [moment.replace(tzinfo=UTC) for moment in moments]
    array = pa.array(cells, pa.timestamp("us", "UTC"))
    seconds = column.type.model_array(pa.concat_arrays([array, pa.nulls(1, array.type)]), column)
    singly = column.type.model_input(np.array([*cells, None], object), column)
    np.testing.assert_array_equal(column.type.model_input(seconds, column), singly)
    datetimes = array.to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(column.type.model_input(datetimes, column), singly[:-1])
    assert ((singly[:-1] >= MIN_SECONDS) & (singly[:-1] <= MAX_SECONDS)).all()


def test_column_of_dates_is_described_by_limits_form_and_zone() -> None:
    described = [column.type.describe_limits(column) for column in COLUMNS[:4]]
    assert described == [
        "as 2020-01-31 14:30",
        "from 2000-01-01 to 2023-02-28, as 2020-01-31 14:30",
        "as 2020-01-31 14:30, in Europe/Berlin",
        "as %d.%m.%Y or %d.%m.%Y %H:%M, in America/New_York",
    ]


def test_date_of_python_is_midnight() -> None:
    assert parsed([date(2020, 1, 31)], Column("date"))[0] == [datetime(2020, 1, 31, tzinfo=UTC)]
