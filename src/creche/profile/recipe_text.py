"""Write a recipe that a person wants to read and edit."""

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from creche.profile.column_keys import column_keys, comment_of, encoding, percent
from creche.profile.column_patterns import ColumnPattern, find_patterns
from creche.profile.plan import ProfiledColumn, TableProfile
from creche.profile.rule_suggestions import suggested_rules
from creche.profile.training_settings import (
    DROPOUT,
    HIDDEN,
    HOLDOUT,
    LEARNING_RATE,
    VALIDATION,
    WEIGHT_DECAY,
)
from creche.profile.yaml_text import comment, flow, quoted, scalar, wrapped

WIDTH = 100
MAX_LINE = 140  # of a column with its comment
SHOWN_LEFT_OUT = 200
SHOWN_WARNINGS = 10  # columns of a pattern
DEFAULT_QUARANTINE = 0.05


def recipe_text(profile: TableProfile, data: Mapping[str, Any], table: str, command: str) -> str:
    """Return the recipe of a table.

    Args:
        data: the section `data`: path or url, md5, and how its files are read.
        table: name of the table in the description.
        command: that wrote it, for the first line.
    """
    lines = [*_opening(profile, table, command), *_data(data), "", "columns:"]
    patterns = find_patterns(profile)
    in_pattern = {column.name for pattern in patterns for column in pattern.columns}
    for pattern in patterns:
        lines.extend(_pattern(pattern))
    for column in profile.columns:
        if column.role != "left out" and column.name not in in_pattern:
            lines.extend(_column(column, profile))
    lines.extend(_left_out(profile))
    lines.extend(["", f"label: {scalar(profile.label_column.name)}", "features:"])
    for pattern in patterns:
        lines.append(f"  {quoted(pattern.pattern)}: {flow(pattern.encoding())}")
    for column in profile.features:
        if column.name not in in_pattern:
            lines.append(f"  {scalar(column.name)}: {flow(encoding(column))}")
    lines.extend(_group(profile))
    lines.extend(_rules(profile))
    lines.extend(_settings(profile))
    return "\n".join(lines) + "\n"


def _opening(profile: TableProfile, table: str, command: str) -> Iterator[str]:
    sample = profile.sample
    columns = f"{sample.rows:,} rows and {len(sample.header):,} columns"
    opening = (
        f"Written by `{command}` from {columns}. It is yours to edit. Limits (min, max) leave a "
        "quarter of the range seen on each side, and stay above 0 where all numbers are; they are "
        "to catch slips of units and fingers. A comment says what was seen."
    )
    yield from _comment_lines(opening)
    for note in profile.notes:
        yield from _comment_lines(f"NOTE: {note}")
    label = profile.label_column
    features = len(profile.features)
    plural = "s" if features != 1 else ""
    description = f"{label.header_name.strip()} of a row of {table}, from {features} column{plural}"
    yield f"description: {flow(description)}"


def _comment_lines(text: str, indent: str = "") -> Iterator[str]:
    printable = "".join(
        each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text
    )
    yield from textwrap.wrap(
        printable, WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# "
    )


def _data(data: Mapping[str, Any]) -> Iterator[str]:
    yield "data:"
    for key, value in data.items():
        yield f"  {key}: {flow(value)}"


def _column(column: ProfiledColumn, profile: TableProfile) -> Iterator[str]:
    for warning in column.warnings:
        yield from _comment_lines(f"CHECK: {warning}", "  ")
    text = comment(comment_of(column, profile))
    keys = flow(column_keys(column, profile))
    line = f"  {scalar(column.name)}: {keys}"
    if len(line) > MAX_LINE:
        if text:
            yield f"  # {text}"
        yield f"  {scalar(column.name)}:"
        yield from wrapped(keys, WIDTH, "    ")
    elif text and len(line) + len(text) > MAX_LINE:
        yield f"  # {text}"
        yield line
    else:
        yield f"{line}  # {text}" if text else line


def _pattern(pattern: ColumnPattern) -> Iterator[str]:
    """Yield the line of many columns."""
    for column in pattern.columns[:SHOWN_WARNINGS]:
        for warning in column.warnings:
            yield from _comment_lines(f"CHECK: {column.name}: {warning}", "  ")
    keys = flow(pattern.keys())
    yield f"  {quoted(pattern.pattern)}: {keys}  # {comment(pattern.comment())}"


def _left_out(profile: TableProfile) -> Iterator[str]:
    left_out = profile.with_role("left out")
    if not left_out:
        return
    yield "# Left out, and ignored in files; add a line above and under features to use one:"
    for column in left_out[:SHOWN_LEFT_OUT]:
        yield f"#   {comment(f'{column.header_name.strip() or column.name}: {column.left_out}')}"
    more = len(left_out) - SHOWN_LEFT_OUT
    if more > 0:
        yield f"#   and {more:,} more"


def _group(profile: TableProfile) -> Iterator[str]:
    if not profile.group:
        return
    names = [column.name for column in profile.columns if column.header_name in profile.group]
    yield f"group: {flow(names)}  # rows that agree in these are on one side of the split"


def _rules(profile: TableProfile) -> Iterator[str]:
    rules = suggested_rules(profile)
    if not rules:
        return
    yield ""
    yield "# Rules that hold in every row seen; take away the # of those that are meant:"
    yield "# rules:"
    for rule in rules:
        yield f"#   - {rule}"


def _settings(profile: TableProfile) -> Iterator[str]:
    yield ""
    yield from _quarantine(profile)
    yield from _split(profile)
    training = profile.training
    yield f"network: {{hidden: {flow(list(HIDDEN))}, dropout: {DROPOUT}}}"
    yield "training:"
    yield "  optimizer: adamw"
    yield f"  learning_rate: {LEARNING_RATE}"
    yield f"  weight_decay: {WEIGHT_DECAY}  # with dropout, it keeps small tables from overfitting"
    yield f"  epochs: {training.epochs}  # at most; more rows need fewer passes over them"
    yield f"  patience: {training.patience}  # epochs without a lower validation loss: it stops"
    yield f"  batch_size: {training.batch_size}"
    if profile.gate.is_imbalanced:
        yield "# Classes are rare: the decision weighs them so that the rare ones count too."
        yield "decision: {maximize: macro_f1}"
    yield from _gate(profile)


def _quarantine(profile: TableProfile) -> Iterator[str]:
    expected = profile.quarantined_share
    if expected <= DEFAULT_QUARANTINE / 2:
        return
    share = min(1.0, round(expected * 1.2 + 0.02, 2))
    yield (
        f"quarantine: {{max_share: {scalar(share)}}}  # {percent(expected)} of the rows are of no "
        "use for training, as noted above"
    )


def _split(profile: TableProfile) -> Iterator[str]:
    if profile.date_range is not None and profile.time is not None:
        name = next(each.name for each in profile.columns if each.header_name == profile.time)
        period = profile.date_range
        keys = {
            "time": name,
            "period": period.period,
            "holdout_periods": period.holdout_periods,
            "validation_periods": period.validation_periods,
        }
        yield f"split: {flow(keys)}  # the newest rows judge the model"
    elif profile.training.folds:
        yield (
            f"split: {{folds: {profile.training.folds}}}  # too few rows for a holdout of its own: "
            "each row is judged by a model that was trained without it"
        )
    else:
        groups = "groups" if profile.group else "rows, equal ones together"
        yield (f"split: {{validation: {VALIDATION}, holdout: {HOLDOUT}}}  # shares of the {groups}")


def _gate(profile: TableProfile) -> Iterator[str]:
    gate = profile.gate
    for reason in gate.reasons:
        yield from _comment_lines(f"{reason[0].upper()}{reason[1:]}.")
    if gate.warning:
        yield from _comment_lines(f"CHECK: {gate.warning}")
    yield "gate:"
    where = "about halfway between the two: a model that says nothing fails"
    accuracy_reason = where
    if gate.macro_f1 is not None:
        accuracy_reason = "keeps out a model that is wrong far too often"
    yield f"  accuracy: {scalar(gate.accuracy)}  # {accuracy_reason}"
    yield "  recall: 0  # set it for the rarest class that matters"
    if gate.macro_f1 is not None:
        yield f"  metrics: {{macro_f1: {scalar(gate.macro_f1)}}}  # {where}"
        yield "  primary: macro_f1  # what a challenger is compared with the champion by"
