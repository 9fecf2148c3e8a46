"""The record of a profile, with the numbers of its figures."""

from collections.abc import Iterator

import numpy as np

from creche.profile.column_keys import day, encoding
from creche.profile.distinct import MISSING_CODE
from creche.profile.label import Label
from creche.profile.nice_numbers import shown
from creche.profile.plan import ProfiledColumn, TableProfile
from creche.profile.relevance import correlations
from creche.profile.yaml_text import flow
from creche.records import CorrelatedColumns, ProfiledColumnReport, TableReport, ValueCount

BARS = 12  # of a histogram
CORRELATED_COLUMNS = 60  # numbers whose correlations are computed
SHOWN_CORRELATIONS = 20
LEAST_CORRELATION = 0.5


def table_report(
    profile: TableProfile, *, recipe: str, recipe_file: str, table: str
) -> TableReport:
    """Return the record of a profile.

    Args:
        recipe: name of the recipe.
        recipe_file: its path.
        table: what the user named.
    """
    label = profile.label
    return TableReport(
        recipe=recipe,
        recipe_file=recipe_file,
        table=table,
        rows=profile.sample.rows,
        sample_rows=profile.sample.table.num_rows,
        label=profile.label_column.name,
        classes=profile.class_counts(),
        columns=[_column_report(column, label) for column in profile.columns],
        correlations=list(_correlated(profile)),
        simple_accuracy=profile.simple.accuracy if profile.simple else None,
        constant_accuracy=label.majority_share,
        least_accuracy=profile.gate.accuracy,
        notes=list(profile.notes),
    )


def _column_report(column: ProfiledColumn, label: Label) -> ProfiledColumnReport:
    counts = column.counts
    write = day if column.inferred.kind == "date" else shown
    is_feature = column.role == "feature"
    return ProfiledColumnReport(
        name=column.name,
        header=column.header_name,
        kind=column.inferred.kind,
        role=column.role,
        left_out=column.left_out,
        encoding=flow(encoding(column)) if is_feature else "",
        missing=counts.missing,
        missing_share=counts.missing_share,
        not_of_kind=counts.bad,
        smallest=write(counts.smallest) if counts.has_range else "",
        largest=write(counts.largest) if counts.has_range else "",
        distinct=column.inferred.distinct_count,
        removed_errors=column.relevance.gain if column.relevance else None,
        histogram=list(_histogram(column, label)),
        warnings=list(column.warnings),
    )


def _histogram(column: ProfiledColumn, label: Label) -> Iterator[ValueCount]:
    """Yield the bars of a column's figure: ranges of equal width, or the most frequent values."""
    inferred = column.inferred
    if inferred.numbers is not None and column.role != "label":
        present = inferred.numbers[~np.isnan(inferred.numbers)]
        if not len(present):
            return
        # Extremes would leave all rows in one bar.
        low, high = np.quantile(present, [0.01, 0.99])
        if low == high:
            low, high = float(present.min()), float(present.max())
        edges = np.linspace(low, high, BARS + 1)
        codes = np.clip(np.searchsorted(edges, inferred.numbers, "right") - 1, 0, BARS - 1)
        codes = np.where(np.isnan(inferred.numbers), MISSING_CODE, codes)
        write = day if inferred.kind == "date" else shown
        names = [f"from {write(float(f'{edge:.4g}'))}" for edge in edges[:-1]]
        if inferred.kind == "date":
            names = [f"from {day(float(edge))}" for edge in edges[:-1]]
        yield from _bars(codes, names, list(range(BARS)), label)
    elif inferred.values:
        counts = inferred.counts()
        most_frequent = np.argsort(-counts, kind="stable")[:BARS]
        positions = sorted(most_frequent.tolist()) if inferred.is_ordered else most_frequent
        yield from _bars(inferred.codes, list(inferred.values), list(positions), label)


def _bars(
    codes: np.ndarray, names: list[str], positions: list[int], label: Label
) -> Iterator[ValueCount]:
    classes = len(label.classes)
    for position in positions:
        labels = label.column.codes[codes == position]
        counts = np.bincount(labels[labels != MISSING_CODE], minlength=classes)
        total = max(int(counts.sum()), 1)
        shares = [round(count / total, 4) for count in counts.tolist()]
        rows = int(np.count_nonzero(codes == position))
        yield ValueCount(value=names[position], rows=rows, label_shares=shares)


def _correlated(profile: TableProfile) -> Iterator[CorrelatedColumns]:
    """Yield the pairs of numbers with the strongest correlations, the strongest first."""
    numbers = [each for each in profile.features if each.inferred.kind == "number"]
    numbers = numbers[:CORRELATED_COLUMNS]
    if len(numbers) < 2:
        return
    matrix = correlations([each.inferred for each in numbers])
    firsts, seconds = np.triu_indices(len(numbers), 1)
    strengths = np.nan_to_num(np.abs(matrix[firsts, seconds]))
    for index in np.argsort(-strengths, kind="stable")[:SHOWN_CORRELATIONS]:
        if strengths[index] < LEAST_CORRELATION:
            return
        first, second = firsts[index], seconds[index]
        yield CorrelatedColumns(
            first=numbers[first].name,
            second=numbers[second].name,
            correlation=round(float(matrix[first, second]), 4),
        )
