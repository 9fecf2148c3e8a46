"""Self-contained HTML pages: no script, no style sheet and no image from elsewhere."""

from pathlib import Path

import pyarrow as pa

from creche.contract.arrow_cells import is_binary
from creche.records import ModelDescription, RunRecord, ValidationReport
from creche.reporting import plots
from creche.reporting.sections import sections
from creche.reporting.seen_values import with_seen_values
from creche.reporting.template_environment import template_environment

SHOWN_ROWS = 200  # quarantined rows on a page; the file beside it holds them all


def model_card(run: RunRecord, model: ModelDescription | None, folder: Path) -> str:
    """Return the model card (Mitchell et al., 2019, Model Cards for Model Reporting).

    Args:
        folder: of the run, with its images.
    """
    if model is not None:
        model = with_seen_values(model, folder)
    shown = sections(run, model)
    images = {}
    for section in shown:
        path = folder / section.image
        if section.image and path.is_file():
            images[section.image] = plots.data_uri(path.read_bytes())
    template = template_environment().get_template("card.html.j2")
    return template.render(run=run, sections=shown, images=images)


def validation_page(recipe: str, report: ValidationReport, quarantine: pa.Table) -> str:
    """Return the validation of one file: counts, reasons, and the first quarantined rows."""
    columns = ["row", "reasons"]
    for field in quarantine.schema:
        if field.name not in ("row", "reasons", "source") and not is_binary(field.type):
            columns.append(field.name)
    rows = []
    for row in quarantine.slice(0, SHOWN_ROWS).to_pylist():
        row["reasons"] = "; ".join(row["reasons"])
        rows.append([row[name] for name in columns])
    template = template_environment().get_template("validation.html.j2")
    return template.render(
        recipe=recipe, report=report, columns=columns, rows=rows, shown_rows=SHOWN_ROWS
    )
