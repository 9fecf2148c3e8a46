"""The profile of a table as a self-contained page."""

from typing import Any

from creche.records import ProfiledColumnReport, TableReport
from creche.reporting.template_environment import template_environment

SHOWN_FIGURES = 100  # columns
# Colors that people with color blindness tell apart (Okabe and Ito, 2008).
COLORS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#777777")


def profile_page(report: TableReport) -> str:
    """Return the profile of a table: columns, histograms with the label, correlations."""
    with_figure = [column for column in report.columns if column.histogram]
    # The columns that say most of the label come first.
    with_figure.sort(key=lambda column: -(column.removed_errors or 0.0))
    correlations = []
    for pair in report.correlations:
        correlations.append((pair.first, pair.second, f"{pair.correlation:.2f}"))
    return (
        template_environment()
        .get_template("profile.html.j2")
        .render(
            report=report,
            rows=[_cells(column) for column in report.columns],
            correlations=correlations,
            shown=with_figure[:SHOWN_FIGURES],
            hidden=max(0, len(with_figure) - SHOWN_FIGURES),
            colors=COLORS,
        )
    )


def _cells(column: ProfiledColumnReport) -> tuple[Any, ...]:
    removed = "" if column.removed_errors is None else f"{100 * column.removed_errors:.0f} %"
    return (
        column.name,
        column.kind,
        column.role,
        f"{100 * column.missing_share:.1f} %" if column.missing else "",
        column.smallest,
        column.largest,
        f"{column.distinct:,}",
        removed,
        column.left_out or column.encoding,
    )
