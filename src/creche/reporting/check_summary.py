"""What `creche check` found, on one screen, as text."""

from collections.abc import Iterator

from creche.errors import listed
from creche.records import RecipeCheck, SplitReport, ValidationReport
from creche.reporting import formats
from creche.reporting.run_summary import DIGEST_LENGTH

SHOWN_REASONS = 10
SHOWN_CLASSES = 20
SHOWN_FEATURES = 12
NAME_LENGTH = 40  # characters of a column or class


def check_lines(result: RecipeCheck) -> list[str]:
    """Return what was found on one screen."""
    verdict = "OK" if result.passed else "REFUSED"
    summary = "recipe and data fit together; nothing was trained"
    lines = [f"{verdict}  {result.recipe}: {result.message or summary}", ""]
    for name, value in _entries(result):
        lines.append(f"  {name:<9} {value}")
    return lines


def _entries(result: RecipeCheck) -> Iterator[tuple[str, str]]:
    if result.source is not None:
        version = result.source.data_version[:DIGEST_LENGTH]
        yield "data", f"{result.source.path}, version {version}"
    if result.validation is not None:
        yield from _rows(result.validation)
    if result.split is not None:
        yield from _split(result.split)
    if result.features:
        yield from _features(result)
    if result.network is not None:
        network = result.network
        inputs = f"{network.inputs:,} inputs" if network.inputs else "pixels"
        yield (
            "network",
            f"{network.kind}, {inputs} → {network.classes:,} classes, {network.parameters:,} "
            "parameters",
        )


def _rows(validation: ValidationReport) -> Iterator[tuple[str, str]]:
    counts = formats.row_counts(validation)
    yield "rows", f"{validation.rows} in, {counts} ({validation.share_quarantined:.1%})"
    for reason, rows in list(validation.reasons.items())[:SHOWN_REASONS]:
        yield "", f"{rows:,} × {reason}"
    more = len(validation.reasons) - SHOWN_REASONS
    if more > 0:
        yield "", f"… and {more:,} more reasons"
    for check in validation.table:
        outcome = "passed" if check.passed else "failed"
        yield "table", f"{check.message}: {outcome}"
    if validation.ignored:
        yield "ignored", listed(validation.ignored, SHOWN_FEATURES, NAME_LENGTH)


def _split(split: SplitReport) -> Iterator[tuple[str, str]]:
    by_split = split.by_split()
    if split.folds:
        # Each fold is judged by a model of the others.
        by_split = {f"fold {number}": counts for number, counts in enumerate(split.folds, 1)}
    header = "".join(f"{name:>12}" for name in by_split)
    yield "split", f"{'':<24}{header}"
    totals = "".join(f"{sum(counts.values()):>12,}" for counts in by_split.values())
    yield "", f"{'rows':<24}{totals}"
    if split.times:
        for title in ("first", "last"):
            times = "".join(f"{_time(split, name, title):>12}" for name in by_split)
            yield "", f"{title:<24}{times}"
    if split.left_out:
        yield "", f"{split.left_out:,} rows are left out, since their group has a newer row"
    classes = list(split.train)
    for name in classes[:SHOWN_CLASSES]:
        counts_of_class = "".join(f"{counts[name]:>12,}" for counts in by_split.values())
        shown = name if len(name) <= 23 else f"{name[:22]}…"
        yield "", f"{shown:<24}{counts_of_class}"
    more = len(classes) - SHOWN_CLASSES
    if more > 0:
        yield "", f"… and {more:,} more classes"


def _time(split: SplitReport, split_name: str, title: str) -> str:
    """Return the date of the first or the last row of a split."""
    times = split.times.get(split_name)
    if times is None:
        return ""
    time = times.first if title == "first" else times.last
    return time.split(" ")[0]


def _features(result: RecipeCheck) -> Iterator[tuple[str, str]]:
    title = "features"
    for feature in result.features[:SHOWN_FEATURES]:
        plural = "input" if feature.inputs == 1 else "inputs"
        yield (
            title,
            f"{feature.name} ({feature.kind}): {feature.encoding}, {feature.inputs} {plural}",
        )
        title = ""
    more = len(result.features) - SHOWN_FEATURES
    if more > 0:
        yield "", f"… and {more:,} more features"
