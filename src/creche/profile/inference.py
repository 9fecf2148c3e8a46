"""Infer what one column holds from its distinct cells."""

import re
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import spell_text
from creche.profile import categories, missing
from creche.profile.dates import ISO_DATES, DateFormats, find_date_formats
from creche.profile.distinct import MISSING_CODE, DistinctCells
from creche.profile.nested import holds_json_values
from creche.profile.numbers import (
    PLAIN,
    NumberFormat,
    find_number_format,
    has_leading_zeros,
    is_ambiguous,
    parse_numbers,
)

Kind = Literal["number", "boolean", "category", "date", "text", "empty", "nested", "bytes"]

LARGEST_BAD_SHARE = 0.02  # of the rows of a number or date that may be none, 0..1
FEWEST_NUMBERS = 10  # distinct ones, from which on a column with some other texts is one of numbers
MAX_CODES = 12  # distinct whole numbers that a name may declare to be codes
CODE_NAME = re.compile(r"(type|class|code|category|kind|group|status|region|zone)s?$")
FEW_VALUES = 20  # that any column of texts may have and be a category
MAX_DISTINCT_SHARE = 0.5  # distinct texts / rows, above which texts are no category
LONG_TEXT = 50  # characters on average, from which on many texts are free text
MANY_VALUES = 50  # of a category, from which on the rare ones are pooled
MAX_VARIANTS = 5000  # distinct texts whose spellings are compared
SHOWN_BAD_CELLS = 3


@dataclass(frozen=True)
class InferredColumn:
    """What one column holds.

    Attributes:
        numbers: of a number, the number of each row; of a date, seconds since 1970 in UTC; NaN
            where there is none (n,).
        codes: position in `values` of each row's value, -1 where it is missing (n,). Of numbers and
            texts, the position of the distinct cell.
        values: of a category or boolean, its values in their canonical spelling.
        spellings: of a missing value, beside the usual ones.
        variants: value → its other spellings.
        is_ordered: whether the order of `values` is meant.
        has_words: whether most texts consist of several words.
        bad_rows: rows whose cell is of another kind; they would be quarantined.
    """

    header_name: str
    kind: Kind
    codes: np.ndarray
    values: tuple[str, ...] = ()
    numbers: np.ndarray | None = None
    spellings: tuple[str, ...] = ()
    stated_spellings: tuple[str, ...] = ()
    number_format: NumberFormat = PLAIN
    date_formats: DateFormats = ISO_DATES
    true_and_false: tuple[str, str] = ("", "")
    variants: dict[str, list[str]] = field(default_factory=dict)
    normalize: tuple[str, ...] = ()
    is_ordered: bool = False
    has_words: bool = False
    bad_rows: int = 0
    bad_cells: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.codes)

    @property
    def is_missing(self) -> np.ndarray:
        """Whether each row has no value (n,)."""
        if self.numbers is not None:
            return np.asarray(np.isnan(self.numbers))
        return np.asarray(self.codes == MISSING_CODE)

    @property
    def missing_rows(self) -> int:
        return int(np.count_nonzero(self.is_missing)) - self.bad_rows

    @property
    def are_whole(self) -> bool:
        """Whether all numbers of the column are whole."""
        if self.numbers is None:
            return False
        numbers = self.numbers[~np.isnan(self.numbers)]
        return bool(np.all(numbers == np.round(numbers)))

    @property
    def distinct_count(self) -> int:
        """Distinct values, a missing one not counted."""
        return len(np.unique(self.codes[self.codes != MISSING_CODE]))

    def counts(self) -> np.ndarray:
        """Return the rows of each of `values`."""
        present = self.codes[self.codes != MISSING_CODE]
        return np.bincount(present, minlength=len(self.values))


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
    values = distinct.texts.filter(pa.array(~missing.missing_mask(distinct, spellings)))
    if distinct.native == "boolean" or categories.boolean_values(_few(values)):
        return _boolean(distinct)
    number = None if distinct.native == "date" else _number(distinct, spellings)
    if number is not None:
        return number
    date = _date(distinct, spellings)
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


def _number(distinct: DistinctCells, spellings: tuple[str, ...]) -> InferredColumn | None:
    """Return a column of numbers; None where it is none."""
    is_missing = missing.missing_mask(distinct, spellings)
    kept = np.flatnonzero(~is_missing)
    texts = distinct.texts.take(pa.array(kept))
    counts = distinct.counts[kept]
    number_format, numbers = find_number_format(texts, counts)
    is_number = ~np.isnan(numbers)
    bad_rows = int(counts[~is_number].sum())
    is_mostly = np.count_nonzero(is_number) >= FEWEST_NUMBERS
    if not is_number.any() or (bad_rows and not is_mostly):
        return None
    if bad_rows > LARGEST_BAD_SHARE * counts.sum():
        return None
    if distinct.native == "text" and has_leading_zeros(texts):
        return None
    if _are_codes(distinct.header_name, numbers[is_number]):
        return None
    by_code = np.full(len(distinct.texts) + 1, np.nan)
    by_code[kept] = numbers
    warnings = []
    warning = missing.number_warning(numbers[is_number], counts[is_number])
    if warning:
        warnings.append(warning)
    if is_ambiguous(texts, number_format):
        warnings.append(
            f"every mark, as in {texts[0].as_py()}, may separate thousands, or whole and fraction"
        )
    bad_texts = texts.filter(pa.array(~is_number)).slice(0, SHOWN_BAD_CELLS).to_pylist()
    is_kept_code = np.append(~is_missing, False)
    return InferredColumn(
        header_name=distinct.header_name,
        kind="number",
        codes=np.where(is_kept_code[distinct.codes], distinct.codes, MISSING_CODE),
        numbers=by_code[distinct.codes],
        spellings=spellings,
        stated_spellings=missing.stated_spellings(distinct, spellings),
        number_format=number_format,
        bad_rows=bad_rows,
        bad_cells=tuple(bad_texts),
        warnings=tuple(warnings),
    )


def _are_codes(header_name: str, numbers: np.ndarray) -> bool:
    """Whether numbers are codes of a category, as the column's name says."""
    if len(numbers) > MAX_CODES or not np.all(numbers == np.round(numbers)):
        return False
    letters = re.sub(r"[^a-z]+", " ", header_name.lower()).strip()
    return CODE_NAME.search(letters) is not None


def _date(distinct: DistinctCells, spellings: tuple[str, ...]) -> InferredColumn | None:
    """Return a column of dates; None where it is none."""
    is_missing = missing.missing_mask(distinct, spellings)
    kept = np.flatnonzero(~is_missing)
    texts = distinct.texts.take(pa.array(kept))
    counts = distinct.counts[kept]
    dates = find_date_formats(distinct.header_name, texts, counts)
    if dates is None:
        return None
    formats, seconds = dates
    is_date = ~np.isnan(seconds)
    by_code = np.full(len(distinct.texts) + 1, np.nan)
    by_code[kept] = seconds
    warnings = []
    if formats.is_ambiguous:
        warnings.append(
            f"day and month may be swapped, as in {texts[0].as_py()}: check the formats"
        )
    elif len(formats.formats) > 1:
        warnings.append(f"dates in {len(formats.formats)} formats: {', '.join(formats.formats)}")
    bad_texts = texts.filter(pa.array(~is_date)).slice(0, SHOWN_BAD_CELLS).to_pylist()
    is_kept_code = np.append(~is_missing, False)
    return InferredColumn(
        header_name=distinct.header_name,
        kind="date",
        codes=np.where(is_kept_code[distinct.codes], distinct.codes, MISSING_CODE),
        numbers=by_code[distinct.codes],
        spellings=spellings,
        stated_spellings=missing.stated_spellings(distinct, spellings),
        date_formats=formats,
        bad_rows=int(counts[~is_date].sum()),
        bad_cells=tuple(bad_texts),
        warnings=tuple(warnings),
    )


def infer_category(
    distinct: DistinctCells, can_be_word: bool = False, can_be_text: bool = True
) -> InferredColumn:
    """Return a column of texts as a category, or as text where its values hardly repeat.

    Args:
        can_be_word: whether a word such as `unknown` may stand for a missing value, as beside yes
            and no.
        can_be_text: whether values that hardly repeat are text, and no category.
    """
    spellings = missing.candidates_in(distinct, is_number=can_be_word)
    is_missing = missing.missing_mask(distinct, spellings)
    kept = np.flatnonzero(~is_missing)
    texts = distinct.texts.take(pa.array(kept))
    counts = distinct.counts[kept]
    stated = missing.stated_spellings(distinct, spellings)
    if can_be_text and is_free_text(texts, counts):
        is_kept_code = np.append(~is_missing, False)
        codes = np.where(is_kept_code[distinct.codes], distinct.codes, MISSING_CODE)
        has_space = np.asarray(pc.match_substring(texts, " "))
        return InferredColumn(
            header_name=distinct.header_name,
            kind="text",
            codes=codes,
            spellings=spellings,
            stated_spellings=stated,
            has_words=bool(counts[has_space].sum() > counts.sum() / 2),
        )
    canonical, variants = _canonical_values(texts.to_pylist(), counts)
    values, code_by_text = np.unique(np.array(canonical, object).astype(str), return_inverse=True)
    ordered = categories.ordered_values(distinct.header_name, values.tolist())
    final_values = ordered or _sorted_values(values.tolist())
    position_by_value = {value: position for position, value in enumerate(final_values)}
    positions = np.array([position_by_value[value] for value in values.tolist()], int)
    by_code = np.full(len(distinct.texts) + 1, MISSING_CODE)
    by_code[kept] = positions[code_by_text]
    return InferredColumn(
        header_name=distinct.header_name,
        kind="category",
        codes=by_code[distinct.codes],
        values=tuple(final_values),
        spellings=spellings,
        stated_spellings=stated,
        variants=variants,
        normalize=tuple(categories.normalization([[k, *v] for k, v in variants.items()])),
        is_ordered=ordered is not None,
    )


def is_free_text(texts: pa.Array, counts: np.ndarray) -> bool:
    """Whether the values of a column hardly repeat, so that they are no category."""
    rows = int(counts.sum())
    if len(texts) == rows and rows > 4:
        return True
    if len(texts) <= FEW_VALUES:
        return False
    mean_length = float(np.average(np.asarray(pc.utf8_length(texts)), weights=counts))
    is_long = mean_length > LONG_TEXT and len(texts) > MANY_VALUES
    return is_long or len(texts) > MAX_DISTINCT_SHARE * rows


def _canonical_values(
    texts: list[str], counts: np.ndarray
) -> tuple[list[str], dict[str, list[str]]]:
    """Return the canonical value of each text, and the other spellings of those that have some."""
    spelled = [spell_text(text) for text in texts]
    if len(texts) > MAX_VARIANTS:
        return spelled, {}
    rows_by_value: dict[str, int] = {}
    for value, count in zip(spelled, counts.tolist(), strict=True):
        rows_by_value[value] = rows_by_value.get(value, 0) + count
    variants = {}
    canonical_by_fold = {}
    for fold, spellings in categories.spelling_variants(list(rows_by_value)).items():
        most_frequent = max(spellings, key=lambda each: (rows_by_value[each], each))
        canonical_by_fold[fold] = most_frequent
        variants[most_frequent] = [each for each in spellings if each != most_frequent]
    canonical = [canonical_by_fold.get(categories.folded(each), each) for each in spelled]
    return canonical, variants


def _sorted_values(values: list[str]) -> list[str]:
    """Return values in the order of their numbers where all are, else of their letters."""
    numbers = parse_numbers(pa.array(values, pa.string()))
    if np.isnan(numbers).any():
        return sorted(values)
    return [values[position] for position in np.argsort(numbers, kind="stable")]
