"""The label: its classes, or the sentence that says why it has none."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from creche.contract import UNKNOWN
from creche.errors import DataError, listed
from creche.profile import categories, missing
from creche.profile.category_inference import infer_category
from creche.profile.distinct import MISSING_CODE, DistinctCells
from creche.profile.inference import infer_column
from creche.profile.inferred_column import InferredColumn
from creche.profile.nice_numbers import nice, spelled
from creche.profile.numbers import parse_numbers

MAX_WHOLE_CLASSES = 20  # distinct whole numbers, above which a label is a measurement
MAX_FRACTION_CLASSES = 10  # distinct numbers with fractions, above which it is one
MAX_CLASSES = 200
FEWEST_ROWS = 5  # of a class; fewer can neither be trained on nor judged
LARGEST_LOST_SHARE = 0.2  # of the rows, that classes with too few of them may have, 0..1
LEAST_NONE_SHARE = 0.01  # of the rows, from which on `none` is a class and no missing value
DEFAULT_BINS = 3
SHOWN_CLASSES = 5


@dataclass(frozen=True)
class Label:
    """The classes that a model is to predict.

    Attributes:
        column: with the class of each row in `codes`; `values` are the classes.
        edges: of the bins of a number; empty where the label is none.
        left_out: classes with too few rows, with their rows.
        is_none_a_class: whether `none` is a class, and no spelling of a missing value.
    """

    column: InferredColumn
    edges: tuple[float, ...] = ()
    left_out: tuple[tuple[str, int], ...] = ()
    is_none_a_class: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        return self.column.values

    def counts(self) -> np.ndarray:
        """Return the rows of each class."""
        return self.column.counts()

    @property
    def majority_share(self) -> float:
        """Share of the most frequent class among the rows with a class, 0..1."""
        counts = self.counts()
        return float(counts.max() / counts.sum())


def infer_label(distinct: DistinctCells, bins: Sequence[float] | int | None) -> Label:
    """Return the label of a table.

    Args:
        bins: number of classes of about equal size that a number is cut into, or the edges between
            them.

    Raises:
        DataError: a classifier cannot predict it; says why and what to do.
    """
    name = distinct.header_name
    column = infer_column(distinct)
    if column.kind == "nested" or column.kind == "bytes":
        raise DataError(
            f"label {name} holds {_content(column.kind)}, and a class is one value: name another "
            "column, or write the class of each row into one"
        )
    if column.kind == "empty":
        raise DataError(f"label {name} has no value in any row: name another column")
    if bins is not None:
        return _binned(column, bins)
    if column.kind == "date":
        raise DataError(
            f"label {name} is a date, and a classifier predicts classes: name another column, or "
            "write classes such as early and late into one"
        )
    if column.kind == "number":
        _refuse_measurement(column)
    return _checked(_classes(distinct, column))


def _content(kind: str) -> str:
    return "lists or structs" if kind == "nested" else "bytes"


def _refuse_measurement(column: InferredColumn) -> None:
    assert column.numbers is not None
    numbers = np.unique(column.numbers[~np.isnan(column.numbers)])
    are_whole = bool(np.all(numbers == np.round(numbers)))
    if len(numbers) <= (MAX_WHOLE_CLASSES if are_whole else MAX_FRACTION_CLASSES):
        return
    edges = ",".join(spelled(edge) for edge in quantile_edges(column, DEFAULT_BINS))
    raise DataError(
        f"label {column.header_name} is a number with {len(numbers):,} distinct values, from "
        f"{numbers[0]:g} to {numbers[-1]:g}, and a classifier predicts classes: add `--bins "
        f"{DEFAULT_BINS}` for {DEFAULT_BINS} classes of about equal size, or edges of your own, "
        f"as `--bins={edges}`"
    )


def _classes(distinct: DistinctCells, column: InferredColumn) -> Label:
    """Return the classes in the spelling of the file."""
    if column.kind == "boolean" and column.true_and_false in (("true", "false"), ("t", "f")):
        return Label(column)
    lower = distinct.lower.to_pylist()
    none_rows = sum(
        int(distinct.counts[position]) for position, text in enumerate(lower) if text == "none"
    )
    is_none_a_class = none_rows >= LEAST_NONE_SHARE * distinct.rows and none_rows > 0
    if is_none_a_class:
        distinct = replace(distinct, texts=_with_marked_none(distinct.texts))
    category = infer_category(distinct)
    if category.kind == "text":
        raise DataError(
            f"label {column.header_name} has {len(distinct.texts):,} distinct values in "
            f"{distinct.rows:,} rows, which are no classes: name another column, or group its "
            "values into one"
        )
    if is_none_a_class:
        # The usual spellings count no longer where a recipe states others.
        texts = distinct.texts.filter(pa.array(missing.missing_mask(distinct, category.spellings)))
        category = replace(
            _without_marks(category), stated_spellings=tuple(sorted(texts.to_pylist()))
        )
    return Label(category, is_none_a_class=is_none_a_class)


NONE_MARK = "\N{REPLACEMENT CHARACTER}"  # keeps `none` from being read as a missing value


def _with_marked_none(texts: pa.Array) -> pa.Array:
    marked = [
        f"{NONE_MARK}{each}" if each.lower() == "none" else each for each in texts.to_pylist()
    ]
    return pa.array(marked, pa.string())


def _without_marks(category: InferredColumn) -> InferredColumn:
    """Return the classes without the mark of `none`, in their order."""
    values = [value.removeprefix(NONE_MARK) for value in category.values]
    ordered = categories.ordered_values(category.header_name, values)
    in_order = ordered or values
    new_codes = np.array([*(in_order.index(value) for value in values), MISSING_CODE])
    return replace(
        category,
        codes=new_codes[category.codes],
        values=tuple(in_order),
        is_ordered=ordered is not None,
    )


def _checked(label: Label) -> Label:
    """Return a label without the classes that have too few rows.

    Raises:
        DataError: fewer than two classes are left, or there are too many.
    """
    label = _without_unknown(label)
    name = label.column.header_name
    counts = label.counts()
    if len(counts) > MAX_CLASSES:
        raise DataError(
            f"label {name} has {len(counts):,} classes, and {MAX_CLASSES} are the most that are "
            "learned: group its values into fewer, in a column of its own"
        )
    if len(counts) < 2:
        only = f"{label.classes[0]} in every row that has one" if len(counts) else "no class"
        raise DataError(
            f"label {name} has {only}, and a classifier needs two classes: add rows of another "
            "one, or name another column"
        )
    is_kept = counts >= FEWEST_ROWS
    if is_kept.sum() < 2:
        shown = listed(
            (f"{value} ({count})" for value, count in zip(label.classes, counts, strict=True)),
            SHOWN_CLASSES,
        )
        raise DataError(
            f"label {name} has fewer than two classes with {FEWEST_ROWS} rows each ({shown}), so "
            "that some can be trained on and others held out: add rows, or name another column"
        )
    lost_share = counts[~is_kept].sum() / counts.sum()
    if lost_share > LARGEST_LOST_SHARE:
        way_out = "add `--bins 3`" if _are_numbers(label.classes) else "group its values"
        raise DataError(
            f"label {name} has {len(counts)} classes, and {lost_share:.0%} of the rows are in "
            f"some with fewer than {FEWEST_ROWS}: {way_out}, or name another column"
        )
    return _keep_classes(label, is_kept)


def _are_numbers(classes: Sequence[str]) -> bool:
    return not np.isnan(parse_numbers(pa.array(classes, pa.string()))).any()


def _without_unknown(label: Label) -> Label:
    """Return a label where `unknown`, which is no class of a model, counts as missing."""
    if UNKNOWN not in label.classes:
        return label
    is_kept = np.array([value != UNKNOWN for value in label.classes])
    column = _keep_classes(label, is_kept).column
    spelled_so = tuple(sorted({*column.stated_spellings, UNKNOWN}))
    column = replace(column, spellings=(*column.spellings, UNKNOWN), stated_spellings=spelled_so)
    return replace(label, column=column)


def _keep_classes(label: Label, is_kept: np.ndarray) -> Label:
    column = label.column
    left_out = []
    for value, count, kept in zip(label.classes, label.counts(), is_kept, strict=True):
        if not kept:
            left_out.append((value, int(count)))
    new_codes = np.append(np.where(is_kept, np.cumsum(is_kept) - 1, MISSING_CODE), MISSING_CODE)
    values = tuple(v for v, kept in zip(label.classes, is_kept, strict=True) if kept)
    kept_column = replace(column, codes=new_codes[column.codes], values=values)
    return replace(label, column=kept_column, left_out=tuple(left_out))


def _binned(column: InferredColumn, bins: Sequence[float] | int) -> Label:
    name = column.header_name
    if column.numbers is None or column.kind == "date":
        raise DataError(
            f"label {name} is no number, and --bins cuts numbers into classes: leave --bins away"
        )
    edges = quantile_edges(column, bins) if isinstance(bins, int) else tuple(bins)
    if list(edges) != sorted(set(edges)) or not edges:
        raise DataError(
            f"--bins {','.join(spelled(edge) for edge in edges)}: state edges that rise, as 8,11, "
            "or the number of classes, 2 or more"
        )
    is_missing = np.isnan(column.numbers)
    codes = np.where(is_missing, MISSING_CODE, np.searchsorted(edges, column.numbers, "right"))
    classes = bin_names(edges)
    counts = np.bincount(codes[~is_missing], minlength=len(classes))
    if counts.min() < FEWEST_ROWS:
        smallest = classes[int(counts.argmin())]
        raise DataError(
            f"label {name}: the class '{smallest}' has {counts.min()} rows, and {FEWEST_ROWS} are "
            "the fewest: state other edges with --bins, or fewer classes"
        )
    return Label(replace(column, codes=codes, values=classes), edges)


def quantile_edges(column: InferredColumn, bins: int) -> tuple[float, ...]:
    """Return the edges of bins of about equal size, at round numbers."""
    assert column.numbers is not None
    numbers = column.numbers[~np.isnan(column.numbers)]
    quantiles = np.quantile(numbers, np.arange(1, bins) / bins)
    spread = float(np.quantile(numbers, 0.9) - np.quantile(numbers, 0.1)) or float(np.ptp(numbers))
    edges = {nice(float(quantile), spread / 10) for quantile in quantiles}
    # An edge that no number lies below would leave a class empty.
    inside = {edge for edge in edges if numbers.min() < edge <= numbers.max()}
    return tuple(sorted(inside or {float(np.median(numbers))}))


def bin_names(edges: Sequence[float]) -> tuple[str, ...]:
    """Return the classes between edges, as a column of kind `bins` names them."""
    names = [f"below {spelled(edges[0])}"]
    for low, high in pairwise(edges):
        names.append(f"{spelled(low)} to below {spelled(high)}")
    return (*names, f"{spelled(edges[-1])} or more")


def label_missing(distinct: DistinctCells, label: Label) -> int:
    """Return the rows that have no label."""
    spellings = tuple(each.lower() for each in label.column.spellings)
    is_missing = missing.missing_mask(distinct, spellings)
    if label.is_none_a_class:
        is_missing &= np.asarray(pc.not_equal(distinct.lower, "none"))
    return int(distinct.counts[is_missing].sum()) + distinct.null_rows
