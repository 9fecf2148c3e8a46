"""Infer whether texts are a category, and which values it has."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract.cells import spell_text
from creche.profile import categories, missing
from creche.profile.distinct import DistinctCells
from creche.profile.inferred_column import InferredColumn
from creche.profile.numbers import parse_numbers
from creche.profile.present_cells import PresentCells

FEW_VALUES = 20  # that any column of texts may have and be a category
MAX_DISTINCT_SHARE = 0.5  # distinct texts / rows, above which texts are no category
LONG_TEXT = 50  # characters on average, from which on many texts are free text
MANY_VALUES = 50  # of a category, from which on the rare ones are pooled
MAX_VARIANTS = 5000  # distinct texts whose spellings are compared


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
    present = PresentCells.of(distinct, spellings)
    if can_be_text and is_free_text(present.texts, present.counts):
        return _text(present)
    canonical, variants = _canonical_values(present.texts.to_pylist(), present.counts)
    ordered = categories.ordered_values(distinct.header_name, sorted(set(canonical)))
    values = ordered or _sorted_values(sorted(set(canonical)))
    code_by_value = {value: code for code, value in enumerate(values)}
    codes = np.array([code_by_value[value] for value in canonical], int)
    spellings_of_each = [[value, *others] for value, others in variants.items()]
    return InferredColumn(
        header_name=distinct.header_name,
        kind="category",
        codes=present.codes_by_row(codes),
        values=tuple(values),
        spellings=spellings,
        stated_spellings=present.stated_spellings,
        variants=variants,
        normalize=tuple(categories.normalization(spellings_of_each)),
        is_ordered=ordered is not None,
    )


def _text(present: PresentCells) -> InferredColumn:
    has_space = np.asarray(pc.match_substring(present.texts, " "))
    return InferredColumn(
        header_name=present.distinct.header_name,
        kind="text",
        codes=present.codes_by_row(),
        spellings=present.spellings,
        stated_spellings=present.stated_spellings,
        has_words=bool(present.counts[has_space].sum() > present.rows / 2),
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
