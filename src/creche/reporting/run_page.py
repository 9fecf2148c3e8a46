"""The pages of a run in the Prefect UI, as Markdown and tables."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from creche.records import ModelDescription, RunRecord, Verdict
from creche.registry import RecordedVerdict
from creche.reporting import formats, plots
from creche.reporting.run_summary import summary_lines
from creche.reporting.sections import Cells, check_row, comparison_rows, sections
from creche.reporting.seen_values import with_seen_values

SHOWN_VERDICTS = 50
LINE_WIDTH = 96  # characters
VALUE_INDENT = 12  # characters; where the values of a summary line begin


def run_markdown(
    run: RunRecord, model: ModelDescription | None, folder: Path, links: list[str]
) -> str:
    """Return the page of a run: its state, where to look next, and all that is known of the model.

    Args:
        folder: of the run, with its images.
        links: to other pages, in Markdown.
    """
    summary = []
    for line in summary_lines(run)[2:]:
        summary += wrap(line, LINE_WIDTH, subsequent_indent=" " * VALUE_INDENT)
    parts = [
        f"# {run.state}",
        f"> {run.message}",
        "\n".join(f"- {link}" for link in links),
        "```\n" + "\n".join(summary) + "\n```",
    ]
    if model is not None:
        model = with_seen_values(model, folder)
    for section in sections(run, model):
        parts.append(f"## {section.title}")
        parts += section.lines
        if section.rows:
            parts.append(formats.markdown_table(section.header, section.rows))
        image = folder / section.image
        if section.image and image.is_file():
            parts.append(f"![{section.title}]({plots.data_uri(image.read_bytes())})")
    return "\n\n".join(parts)


def gate_rows(verdict: Verdict) -> list[dict[str, str]]:
    """Return every check, failed ones first, and the figures of the comparison, where there is one.

    A list of mappings is what Prefect's table artifact takes.
    """
    failed_first = sorted(verdict.checks, key=lambda check: check.passed)
    rows: list[Cells] = [check_row(check) for check in failed_first]
    if verdict.comparison:
        for name, value in comparison_rows(verdict.comparison):
            rows.append((f"comparison with the champion: {name}", value, "", ""))
    keys = ("check", "value", "threshold", "outcome")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def accuracy_markdown(recipe: str, verdicts: Sequence[RecordedVerdict]) -> str:
    """Return the page of the holdout accuracy over time.

    Args:
        verdicts: the recorded ones, latest first.
    """
    image = plots.data_uri(plots.accuracy_over_time(verdicts))
    title = "## Verdicts"
    if len(verdicts) > SHOWN_VERDICTS:
        title = f"## The last {SHOWN_VERDICTS} verdicts"
    header = ["time (UTC)", "verdict", "accuracy, 95 % interval", "version", "data", "run"]
    rows = []
    for verdict in verdicts[:SHOWN_VERDICTS]:
        rows.append(
            [
                f"{verdict.time:%Y-%m-%d %H:%M}",
                verdict.verdict,
                formats.accuracy(verdict),
                verdict.version,
                verdict.data_version[:8],
                verdict.run_id,
            ]
        )
    table = formats.markdown_table(header, rows)
    heading = f"# Accuracy of {recipe}"
    return "\n\n".join([heading, f"![accuracy over time]({image})", title, table])
