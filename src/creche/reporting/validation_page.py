"""The validation of one file as a page."""

from html import escape

import pyarrow as pa

from creche.records import ValidationReport
from creche.reporting.report import SHOWN_ROWS, html_table, page


def validation_page(recipe: str, summary: ValidationReport, quarantine: pa.Table) -> str:
    """The validation of one file, as HTML without links to anywhere."""
    bad = summary.quarantined
    verdict = f'<p class="big {"bad" if bad else "good"}">{summary.accepted} of {summary.rows} rows accepted'
    verdict += f", {bad} quarantined ({summary.share_quarantined:.1%})</p>"
    notes = [
        f"column <b>{escape(g)}</b> read as <b>{escape(n)}</b>" for g, n in summary.renamed.items()
    ]
    notes += [
        f"column <b>{escape(name)}</b> is not in the contract: ignored" for name in summary.ignored
    ]
    body = [verdict, *(f"<p>{note}</p>" for note in notes)]
    if summary.reasons:
        body += [
            "<h2>Reasons</h2>",
            html_table(["reason", "rows"], list(summary.reasons.items())),
        ]
        shown = quarantine.slice(0, SHOWN_ROWS).to_pylist()
        shows = (
            f.name
            for f in quarantine.schema
            if f.name not in ("row", "reasons", "source") and not _is_bytes(f.type)
        )
        header = ["row", "reasons", *shows]
        cells = [["; ".join(r[h]) if h == "reasons" else r[h] for h in header] for r in shown]
        title = f"Quarantined rows{f' (the first {SHOWN_ROWS})' if bad > SHOWN_ROWS else ''}"
        body += [f"<h2>{title}</h2>", html_table(header, cells)]
    body += [
        "<h2>Accepted rows by class</h2>",
        html_table(["class", "rows"], list(summary.classes.items())),
    ]
    return page(f"Validation of {summary.source} for {recipe}", "\n".join(body))


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
        or pa.types.is_fixed_size_binary(kind)
    )
