"""Profile a table: from its cells to what a recipe for it says."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches

import numpy as np

from creche.contract import normalize_name
from creche.data.table_source import TableSource
from creche.errors import DataError, UsageError, listed
from creche.profile.category_inference import infer_category
from creche.profile.counts import CellCounts
from creche.profile.distinct import DistinctCells, distinct_cells
from creche.profile.grouping import DAY, content_codes, evident_group, period_of
from creche.profile.inference import infer_column
from creche.profile.inferred_column import InferredColumn
from creche.profile.label import Label, infer_label, label_missing
from creche.profile.left_out import reasons_by_column
from creche.profile.names import colliding_names, recipe_names
from creche.profile.plan import ProfiledColumn, ProfileOptions, TableProfile
from creche.profile.relevance import Relevance, relevance, simple_model
from creche.profile.table_sample import TableSample, count_blocks, sample_columns
from creche.profile.training_settings import choose_gate, choose_training
from creche.recipe.data import NUMBERED_COLUMN
from creche.records.profile import ColumnRole

LEAK = "leaks the label: alone it predicts {accuracy:.1%} of the rows held out"
LARGEST_QUARANTINE = 0.05  # the default of a recipe, 0..1
FEWEST_ROWS = 20  # of a table
FEWEST_GROUPS = 3  # of a table that is split by groups
FEWEST_DAYS = 3  # of a table that is split by time
MAX_COMPARED = 1000  # names of a header among which a similar one is looked for
SHOWN_CLOSE = 3  # of them
SHOWN_REASONS = 5  # why columns are left out


def profile_table(
    sample: TableSample, source: TableSource, options: ProfileOptions
) -> TableProfile:
    """Return what a recipe for a table says.

    Args:
        sample: rows of the table.
        source: of the table, which is read once more where the sample is not the whole of it.

    Raises:
        UsageError: an option names a column that the table does not have.
        DataError: no classifier can be trained on it; says why.
    """
    _check_header(sample)
    options = _with_header_names(options, sample)
    distinct = {name: distinct_cells(name, cells) for name, cells in sample_columns(sample)}
    label = infer_label(distinct[options.label], options.bins)
    _check_rows(label, sample)
    inferred = _inferred(distinct, label, options)
    names = recipe_names(sample.header, options.label)
    left_out = reasons_by_column(inferred, names, label, options)
    relevances = _relevances(inferred, label, options)
    for name, each in relevances.items():
        if each.is_leak and name not in options.keep:
            left_out.setdefault(name, LEAK.format(accuracy=each.accuracy))
    group, group_reason = _group(inferred, label, options)
    counts = _counts(sample, source, inferred, distinct)
    columns = []
    for name, column in inferred.items():
        recipe_name, aliases = names.get(name, (name, ()))
        role = _role(name, options, group, left_out)
        columns.append(
            ProfiledColumn(
                name=recipe_name,
                inferred=column,
                counts=counts[name],
                aliases=aliases,
                role=role,
                left_out=left_out.get(name),
                relevance=relevances.get(name),
                warnings=_warnings(column, role, relevances.get(name)),
            )
        )
    profile = _settled(sample, options, label, tuple(columns), group, group_reason)
    missing_rows = label_missing(distinct[options.label], label)
    return replace(profile, label_missing=missing_rows)


def _check_header(sample: TableSample) -> None:
    collision = colliding_names(sample.header)
    if collision:
        raise DataError(
            f"{sample.name}: columns '{collision[0]}' and '{collision[1]}' are one name for a "
            "recipe, since case and punctuation do not count: rename one of them"
        )


def _with_header_names(options: ProfileOptions, sample: TableSample) -> ProfileOptions:
    """Return the options with each column as the header has it.

    Raises:
        UsageError: the table has no such column, or one is named for two ends.
    """
    by_normalized = {normalize_name(name): name for name in sample.header}

    def find(option: str, name: str) -> str:
        if name in sample.header:
            return name
        found = by_normalized.get(normalize_name(name)) if normalize_name(name) else None
        if found is None:
            raise UsageError(
                f"{option} {name}: {sample.name} has no such column; {_hint(name, sample.header)}"
            )
        return found

    label = find("--label", options.label)
    group = tuple(find("--group", name) for name in options.group)
    time = None if options.time is None else find("--time", options.time)
    keep = tuple(find("--keep", name) for name in options.keep)
    for option, names in (("--group", group), ("--time", (time,)), ("--keep", keep)):
        if label in names:
            raise UsageError(f"{option} {label}: it is the label: name another column")
    if not normalize_name(label):
        raise DataError(
            f"label '{label}' has neither letter nor digit in its name: rename the column"
        )
    return replace(options, label=label, group=group, time=time, keep=keep)


def _hint(name: str, header: Sequence[str]) -> str:
    """Return the columns that may be meant by a name."""
    close = get_close_matches(name, header[:MAX_COMPARED], SHOWN_CLOSE)
    if close:
        return f"did you mean {' or '.join(close)}?"
    numbered = [each for each in header if NUMBERED_COLUMN.fullmatch(each)]
    hint = ""
    if 2 * len(numbered) > len(header):
        hint = "; where a title stands above the header, remove it"
    return f"it has {listed(header)}{hint}"


def _check_rows(label: Label, sample: TableSample) -> None:
    with_label = int(label.counts().sum())
    if with_label < FEWEST_ROWS:
        raise DataError(
            f"{sample.name} has {with_label} rows with a label, and {FEWEST_ROWS} are the fewest "
            "of which some can be held out: add rows"
        )


def _check_days(column: InferredColumn) -> None:
    """Check that the dates of a split forward in time leave rows for each of its sides."""
    assert column.numbers is not None
    days = np.unique(column.numbers[~np.isnan(column.numbers)] // DAY)
    if len(days) < FEWEST_DAYS:
        raise DataError(
            f"--time {column.header_name}: its dates are on {len(days)} days, and training, "
            "validation and holdout need rows of one at least each: leave --time away, or name "
            "another column"
        )


def _inferred(
    distinct: dict[str, DistinctCells], label: Label, options: ProfileOptions
) -> dict[str, InferredColumn]:
    inferred = {}
    for name, cells in distinct.items():
        if name == options.label:
            inferred[name] = label.column
            continue
        column = infer_column(cells)
        if name in options.keep and column.kind == "text":
            column = infer_category(cells, can_be_text=False)
        if name == options.time and column.kind != "date":
            raise DataError(
                f"--time {name}: it holds no dates that are read, such as "
                f"{cells.texts[0].as_py() if len(cells.texts) else 'none'}: name a column of dates"
            )
        if name == options.time:
            _check_days(column)
        if name in options.group and column.kind in ("nested", "bytes", "empty"):
            raise DataError(f"--group {name}: its cells are {column.kind}: name another column")
        inferred[name] = column
    return inferred


def _relevances(
    inferred: dict[str, InferredColumn], label: Label, options: ProfileOptions
) -> dict[str, Relevance]:
    relevances = {}
    for name, column in inferred.items():
        is_encodable = column.kind in ("number", "boolean", "category", "date")
        if is_encodable and name != options.label:
            relevances[name] = relevance(column, label)
    return relevances


def _group(
    inferred: dict[str, InferredColumn], label: Label, options: ProfileOptions
) -> tuple[tuple[str, ...], str]:
    if options.group:
        return options.group, "as --group says"
    return evident_group(inferred, label, options)


def _counts(
    sample: TableSample,
    source: TableSource,
    inferred: dict[str, InferredColumn],
    distinct: dict[str, DistinctCells],
) -> dict[str, CellCounts]:
    counts = {name: CellCounts() for name in inferred}
    blocks: Iterable[dict[str, DistinctCells]] = [distinct]
    if not sample.is_complete:
        blocks = count_blocks(source, sample.header)
    for block in blocks:
        for name, column in inferred.items():
            counts[name].add(block[name], column)
    return counts


def _role(
    name: str, options: ProfileOptions, group: tuple[str, ...], left_out: dict[str, str]
) -> ColumnRole:
    if name == options.label:
        return "label"
    if name in group:
        return "group"
    if name in left_out:
        return "time" if name == options.time else "left out"
    return "feature"


def _warnings(column: InferredColumn, role: ColumnRole, alone: Relevance | None) -> tuple[str, ...]:
    if role in ("left out", "label", "group", "time"):
        return ()
    warnings = list(column.warnings)
    if column.bad_rows:
        cells = ", ".join(column.bad_cells)
        warnings.append(
            f"{column.bad_rows:,} cells are no {column.kind} ({cells}): such rows are quarantined"
        )
    if alone is not None and alone.is_suspicious:
        warnings.append(
            f"alone it predicts {alone.accuracy:.1%} of the rows held out: make sure that it is "
            "known before the label is"
        )
    return tuple(warnings)


def _why(columns: Sequence[ProfiledColumn]) -> str:
    """Return why no column is a feature, and what to do."""
    reasons = [f"{each.name}: {each.left_out}" for each in columns if each.left_out]
    if not reasons:
        return "there is none beside the label: add some"
    return f"{listed(reasons, SHOWN_REASONS)}; name one to use all the same with --keep"


def _settled(
    sample: TableSample,
    options: ProfileOptions,
    label: Label,
    columns: tuple[ProfiledColumn, ...],
    group: tuple[str, ...],
    group_reason: str,
) -> TableProfile:
    """Return the profile with network, training, gate and split.

    Raises:
        DataError: no feature is left.
    """
    features = [column for column in columns if column.role == "feature"]
    if not features:
        raise DataError(
            f"{sample.name} has no column that a model could learn from: {_why(columns)}"
        )
    by_gain = sorted(features, key=lambda each: -(each.relevance.gain if each.relevance else 0.0))
    group_columns = [each.inferred for each in columns if each.header_name in group]
    feature_columns = [each.inferred for each in features]
    groups = content_codes(group_columns or feature_columns)
    simple = simple_model([each.inferred for each in by_gain], label, groups)
    group_count = len(np.unique(groups))
    if options.group and len(np.unique(groups)) < FEWEST_GROUPS:
        raise DataError(
            f"--group {', '.join(options.group)}: all rows are of {len(np.unique(groups))} groups, "
            "and training, validation and holdout need some each: name another column, or leave "
            "--group away"
        )
    every = content_codes([*feature_columns, label.column])
    training = choose_training(sample.rows, label, groups)
    gate = choose_gate(label, simple, sample.rows, training.folds is None)
    time_column = next((each for each in columns if each.header_name == options.time), None)
    return TableProfile(
        sample=sample,
        options=options,
        label=label,
        columns=columns,
        training=training,
        gate=gate,
        simple=simple,
        duplicate_rows=len(every) - len(np.unique(every)),
        groups=group_count,
        group=group,
        group_reason=group_reason,
        time=options.time,
        date_range=period_of(time_column.inferred, label) if time_column else None,
    )
