"""Command init: from a table to a recipe."""

import argparse
import shlex
from collections import Counter
from typing import TYPE_CHECKING

from creche.cli.arguments import Commands, add_command, print_json
from creche.errors import listed, shortened
from creche.project import ProjectPaths

if TYPE_CHECKING:
    from creche.records import TableReport

SHOWN_COLUMNS = 12  # that are left out, or warned of
SHOWN_CLASSES = 8
LINE_LENGTH = 110


def add_commands(commands: Commands) -> None:
    """Add this command to the parser."""
    parser = add_command(
        commands,
        "init",
        _init,
        "Write a recipe for a table: kinds, limits, missing values, features, network and gate.",
        "creche init data/penguins.csv --label species --name birds",
    )
    parser.add_argument(
        "table",
        metavar="TABLE",
        help="a file, a folder of files with the same columns, or an http(s) address",
    )
    parser.add_argument(
        "--label", metavar="COLUMN", required=True, help="the column that is predicted"
    )
    parser.add_argument(
        "--group",
        metavar="COLUMN",
        action="append",
        default=[],
        help="rows that agree here are on one side of the split; may be repeated",
    )
    parser.add_argument(
        "--time", metavar="COLUMN", help="a date: train on older rows, judge by the newest"
    )
    parser.add_argument("--name", metavar="NAME", help="of the recipe (default: the table's)")
    parser.add_argument(
        "--bins",
        metavar="N|EDGES",
        type=_bins,
        help="classes of a label that is a number: how many, or the edges between them, as 10,20",
    )
    parser.add_argument(
        "--keep",
        metavar="COLUMN",
        action="append",
        default=[],
        help="use this column although it would be left out; may be repeated",
    )
    parser.add_argument(
        "--sql",
        metavar="QUERY",
        help="whose rows are the table; TABLE is then the database, as sqlite:///shop.db",
    )
    parser.add_argument("--sheet", metavar="NAME", help="of a workbook that has several")
    parser.add_argument("--force", action="store_true", help="write over a recipe of that name")


def _bins(text: str) -> int | tuple[float, ...]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    try:
        if len(parts) == 1 and parts[0].isdigit() and "," not in text:
            count = int(parts[0])
            if not 2 <= count <= 100:
                raise ValueError
            return count
        edges = tuple(float(part) for part in parts)
        if not edges or any(edge != edge or abs(edge) == float("inf") for edge in edges):
            raise ValueError
        return edges
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"'{text}': state a number of classes from 2 to 100, or edges that rise, as 10,20"
        ) from None


def _init(options: argparse.Namespace) -> int:
    from creche.pipeline.new_recipe import new_recipe
    from creche.profile import ProfileOptions

    profile_options = ProfileOptions(
        label=options.label,
        group=tuple(options.group),
        time=options.time,
        bins=options.bins,
        keep=tuple(options.keep),
    )
    report = new_recipe(
        options.table,
        profile_options,
        ProjectPaths.find(),
        name=options.name,
        sheet=options.sheet,
        sql=options.sql,
        force=options.force,
        command=_command(options),
    )
    if options.json:
        print_json(report)
    else:
        print("\n".join(summary_lines(report)))
    return 0


def _command(options: argparse.Namespace) -> str:
    """Return the command as it was typed, for the recipe's first line."""
    words = ["creche", "init", options.table, "--label", options.label]
    for column in options.group:
        words += ["--group", column]
    if options.time:
        words += ["--time", options.time]
    if options.bins is not None:
        is_count = isinstance(options.bins, int)
        edges = (options.bins,) if is_count else options.bins
        # In one word: the first edge may be negative, and would be read as an option.
        words.append("--bins=" + ",".join(f"{edge:g}" for edge in edges))
    if options.sheet:
        words += ["--sheet", options.sheet]
    if options.sql:
        words += ["--sql", options.sql]
    for column in options.keep:
        words += ["--keep", column]
    return " ".join(shlex.quote(word) for word in words)


def summary_lines(report: "TableReport") -> list[str]:
    """Return what was found in a table, on one screen."""
    kinds = Counter(column.kind for column in report.columns if column.role == "feature")
    by_kind = ", ".join(f"{count} {kind}" for kind, count in kinds.most_common())
    lines = [
        f"WRITTEN  {report.recipe_file}",
        "",
        f"  table     {report.table}: {report.rows:,} rows, {len(report.columns):,} columns",
        f"  label     {report.label}: {_classes(report)}",
        f"  features  {sum(kinds.values())}: {by_kind}",
        f"  gate      accuracy {report.least_accuracy:g}; {_baselines(report)}",
    ]
    left_out = [column for column in report.columns if column.role == "left out"]
    lines += _listed("left out", [f"{column.header}: {column.left_out}" for column in left_out])
    warnings = []
    for column in report.columns:
        for warning in column.warnings:
            warnings.append(f"{column.name}: {warning}")
    lines += _listed("check", warnings)
    lines += _listed("note", report.notes)
    lines += ["", f"  profile   {report.page}", "", "Next steps:"]
    lines += [f"  {command}" for command in report.next_commands]
    return lines


def _classes(report: "TableReport") -> str:
    shown = [f"{name} {rows:,}" for name, rows in report.classes.items()]
    return listed(shown, SHOWN_CLASSES)


def _baselines(report: "TableReport") -> str:
    constant = f"always the most frequent class {report.constant_accuracy:.3f}"
    if report.simple_accuracy is None:
        return constant
    return f"logistic regression {report.simple_accuracy:.3f}, {constant}"


def _listed(title: str, entries: list[str]) -> list[str]:
    lines = []
    for position, entry in enumerate(entries[:SHOWN_COLUMNS]):
        heading = title if position == 0 else ""
        lines.append(f"  {heading:<9} {shortened(entry, LINE_LENGTH)}")
    more = len(entries) - SHOWN_COLUMNS
    if more > 0:
        lines.append(f"  {'':<9} and {more:,} more")
    return lines
