"""Infer what one column holds from its distinct cells."""

import re

import numpy as np
import pyarrow as pa

from creche.profile import categories, missing
from creche.profile.category_inference import infer_category
from creche.profile.dates import find_date_formats
from creche.profile.distinct import MISSING_CODE, DistinctCells
from creche.profile.inferred_column import InferredColumn
from creche.profile.nested import holds_json_values
from creche.profile.numbers import find_number_format, has_leading_zeros, is_ambiguous
from creche.profile.present_cells import PresentCells

LARGEST_BAD_SHARE = 0.02  # of the rows of a number or date that may be none, 0..1
FEWEST_NUMBERS = 10  # distinct ones, from which on a column with some other texts is one of numbers
MAX_CODES = 12  # distinct whole numbers that a name may declare to be codes
CODE_NAME = re.compile(r"(type|class|code|category|kind|group|status|region|zone)s?$")


def infer_column(distinct: DistinctCells) -> InferredColumn:
    """Return what a column holds."""
    name = distinct.header_name
    if distinct.native == "nested" or distinct.native == "bytes":
        return InferredColumn(name, distinct.native, distinct.codes)
    if holds_json_values(distinct.texts):
        return InferredColumn(name, "nested", distinct.codes)
    if not (~distinct.is_usual_missing).any():
        return InferredColumn(name, "empty", np.full(distinct.rows, MISSING_CODE))
    spellings = missing.candidates_in(distinct, is_number=True)
    present = PresentCells.of(distinct, spellings)
    if distinct.native == "boolean" or categories.boolean_values(_few(present.texts)):
        return _boolean(distinct)
    number = None if distinct.native == "date" else _number(present)
    if number is not None:
        return number
    date = _date(present)
    return date if date is not None else infer_category(distinct)


def _few(texts: pa.Array) -> list[str]:
    """Return the texts where they are so few that they may be yes and no."""
    return texts.to_pylist() if len(texts) <= 4 else []


def _boolean(distinct: DistinctCells) -> InferredColumn:
    column = infer_category(distinct, can_be_word=True)
    pair = categories.boolean_values(column.values)
    if pair is None:
        return column
    code_by_code = np.array([pair[0] == value.lower() for value in column.values], int)
    codes = np.where(column.codes == MISSING_CODE, MISSING_CODE, code_by_code[column.codes])
    return InferredColumn(
        header_name=distinct.header_name,
        kind="boolean",
        codes=codes,
        values=("false", "true"),
        spellings=column.spellings,
        stated_spellings=column.stated_spellings,
        true_and_false=pair,
    )


def _number(present: PresentCells) -> InferredColumn | None:
    """Return a column of numbers; None where it is none."""
    number_format, numbers = find_number_format(present.texts, present.counts)
    is_number = ~np.isnan(numbers)
    if not _are_numbers(present, numbers):
        return None
    warnings = []
    warning = missing.number_warning(numbers[is_number], present.counts[is_number])
    if warning:
        warnings.append(warning)
    if is_ambiguous(present.texts, number_format):
        warnings.append(
            f"every mark, as in {present.texts[0].as_py()}, may separate thousands, or whole and "
            "fraction"
        )
    return InferredColumn(
        header_name=present.distinct.header_name,
        kind="number",
        codes=present.codes_by_row(),
        numbers=present.numbers_by_row(numbers),
        spellings=present.spellings,
        stated_spellings=present.stated_spellings,
        number_format=number_format,
        bad_rows=int(present.counts[~is_number].sum()),
        bad_cells=present.examples(~is_number),
        warnings=tuple(warnings),
    )


def _are_numbers(present: PresentCells, numbers: np.ndarray) -> bool:
    """Whether nearly all cells are numbers, and no codes.

    Args:
        numbers: of the cells, NaN where one is none (k,).
    """
    is_number = ~np.isnan(numbers)
    bad_rows = int(present.counts[~is_number].sum())
    is_mostly = np.count_nonzero(is_number) >= FEWEST_NUMBERS
    if not is_number.any() or (bad_rows and not is_mostly):
        return False
    if bad_rows > LARGEST_BAD_SHARE * present.rows:
        return False
    if present.distinct.native == "text" and has_leading_zeros(present.texts):
        return False
    return not _are_codes(present.distinct.header_name, numbers[is_number])


def _are_codes(header_name: str, numbers: np.ndarray) -> bool:
    """Whether numbers are codes of a category, as the column's name says."""
    if len(numbers) > MAX_CODES or not np.all(numbers == np.round(numbers)):
        return False
    letters = re.sub(r"[^a-z]+", " ", header_name.lower()).strip()
    return CODE_NAME.search(letters) is not None


def _date(present: PresentCells) -> InferredColumn | None:
    """Return a column of dates; None where it is none."""
    name = present.distinct.header_name
    dates = find_date_formats(name, present.texts, present.counts)
    if dates is None:
        return None
    formats, seconds = dates
    is_date = ~np.isnan(seconds)
    warnings = []
    if formats.is_ambiguous:
        example = present.texts[0].as_py()
        warnings.append(f"day and month may be swapped, as in {example}: check the formats")
    elif len(formats.formats) > 1:
        warnings.append(f"dates in {len(formats.formats)} formats: {', '.join(formats.formats)}")
    return InferredColumn(
        header_name=name,
        kind="date",
        codes=present.codes_by_row(),
        numbers=present.numbers_by_row(seconds),
        spellings=present.spellings,
        stated_spellings=present.stated_spellings,
        date_formats=formats,
        bad_rows=int(present.counts[~is_date].sum()),
        bad_cells=present.examples(~is_date),
        warnings=tuple(warnings),
    )
