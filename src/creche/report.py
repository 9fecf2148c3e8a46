"""What people look at: plots as PNG, and pages that need nothing but themselves."""

import base64
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure

from creche.places import CURVES, EVALUATION_PLOT

SHOWN_ROWS = 200  # quarantined rows on a page; the file beside it holds them all
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b2733 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
td, th { padding: .3rem .7rem; border-bottom: 1px solid #d5dde5; text-align: left; white-space: nowrap }
.good { color: #17683b } .bad { color: #a3261f } .big { font-size: 1.3rem }
"""


def curves(history: list[dict[str, float]], watched: str, path: Path) -> None:
    """Training and watched loss, and watched accuracy, by epoch."""
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    losses, accuracy = figure.subplots(1, 2)
    epochs = [e["epoch"] for e in history]
    losses.plot(epochs, [e["loss"] for e in history], label="training")
    losses.plot(epochs, [e["val_loss"] for e in history], label=watched)
    losses.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    losses.legend()
    accuracy.plot(epochs, [e["val_accuracy"] for e in history], color="C1")
    accuracy.set(xlabel="epoch", ylabel=f"{watched} accuracy", ylim=(0, 1.02))
    _save(figure, path)


def evaluation(result: dict[str, Any], path: Path) -> None:
    """Confusion matrix, and reliability of the stated probabilities."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    confusion, reliability = figure.subplots(1, 2)
    matrix, classes = np.array(result["confusion"]), result["classes"]
    confusion.imshow(matrix, cmap="Blues")
    for i, j in np.ndindex(*matrix.shape):
        colour = "white" if matrix[i, j] > matrix.max() / 2 else "black"
        confusion.text(j, i, str(matrix[i, j]), ha="center", va="center", color=colour)
    confusion.set(xticks=range(len(classes)), yticks=range(len(classes)), xlabel="predicted", ylabel="true")
    confusion.set_xticklabels(classes, rotation=30)
    confusion.set_yticklabels(classes)
    bins = [b for b in result["calibration"] if b["rows"]]
    reliability.plot([0, 1], [0, 1], color="grey", linewidth=1)
    sizes = [20 + 200 * b["rows"] / result["rows"] for b in bins]
    reliability.scatter([b["confidence"] for b in bins], [b["accuracy"] for b in bins], s=sizes)
    reliability.set(xlabel="stated probability", ylabel="share right", xlim=(0, 1.05), ylim=(0, 1.05))
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    # No software version in the file: the same figures give the same bytes.
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def validation_page(recipe: str, summary: dict[str, Any], quarantine: pa.Table) -> str:
    """The validation of one file, as HTML without links to anywhere."""
    bad = summary["quarantined"]
    verdict = f'<p class="big {"bad" if bad else "good"}">{summary["accepted"]} of {summary["rows"]} rows accepted'
    verdict += f", {bad} quarantined ({summary['share_quarantined']:.1%})</p>"
    notes = [f"column <b>{escape(g)}</b> read as <b>{escape(n)}</b>" for g, n in summary["renamed"].items()]
    notes += [f"column <b>{escape(name)}</b> is not in the contract: ignored" for name in summary["ignored"]]
    body = [verdict, *(f"<p>{note}</p>" for note in notes)]
    if summary["reasons"]:
        body += ["<h2>Reasons</h2>", _html_table(["reason", "rows"], list(summary["reasons"].items()))]
        shown = quarantine.slice(0, SHOWN_ROWS).to_pylist()
        header = ["row", "reasons", *(c for c in quarantine.column_names if c not in ("row", "reasons", "source"))]
        cells = [["; ".join(r[h]) if h == "reasons" else r[h] for h in header] for r in shown]
        title = f"Quarantined rows{f' (the first {SHOWN_ROWS})' if bad > SHOWN_ROWS else ''}"
        body += [f"<h2>{title}</h2>", _html_table(header, cells)]
    body += ["<h2>Accepted rows by class</h2>", _html_table(["class", "rows"], list(summary["classes"].items()))]
    return page(f"Validation of {summary['source']} for {recipe}", "\n".join(body))


def page(title: str, body: str) -> str:
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{STYLE}</style></head><body><h1>{escape(title)}</h1>\n{body}\n</body></html>\n"


def _html_table(header: list[str], rows: list[Any]) -> str:
    def cells(values: Any, tag: str) -> str:
        return "".join(f"<{tag}>{escape('' if v is None else str(v))}</{tag}>" for v in values)

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(header, 'th')}</tr></thead><tbody>{lines}</tbody></table>"


def markdown_table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines)


def summary_lines(run: dict[str, Any]) -> list[str]:
    """A run on one screen, from its `run.json`; an unchanged one shows the run that it leans on."""
    lines = [f"{run['state'].upper()}  {run['message']}", ""]

    def line(name: str, value: str) -> None:
        lines.append(f"  {name:<9} {value}")

    line("run", f"{run['run']} of recipe {run['recipe']}")
    if last := run.get("last"):
        line("last run", last["run"])
    shown = {**(last or {}), **run}
    if source := shown.get("source"):
        line("data", f"{source['path']}, version {source['version'][:12]}")
    if v := shown.get("validation"):
        line("rows", f"{v['rows']} in, {v['accepted']} accepted, {v['quarantined']} quarantined")
        for reason, count in list(v["reasons"].items())[:4]:
            line("", f"{count} × {reason}")
    if split := shown.get("split"):
        line("split", ", ".join(f"{side} {sum(c.values())}" for side, c in split.items()))
    if t := shown.get("training"):
        line("training", f"{t['epochs']} epochs on {t['device']}, epoch {t['epoch_kept']} kept")
    if e := shown.get("evaluation"):
        line("holdout", f"accuracy {e['accuracy']:.4f}, 95 % interval {e['accuracy_low']:.4f} to {e['accuracy_high']:.4f}")
        line("recall", ", ".join(f"{c} {_share(f['recall'])} of {f['rows']}" for c, f in e["by_class"].items()))
    if v := shown.get("verdict"):
        line("verdict", f"{v['verdict']} ({v['id']}), against {_opponent(v)}: {v['reason']}")
    if p := shown.get("promotion"):
        line("model", f"version {p['version']}, digest {p['digest'][:12]}{', champion' if p['champion'] else ''}")
    line("seconds", ", ".join(f"{name} {s:g}" for name, s in run["seconds"].items()))
    return lines


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _opponent(verdict: dict[str, Any]) -> str:
    return f"champion version {verdict['against']['version']}" if verdict["against"] else "no champion"


def run_markdown(run: dict[str, Any], folder: Path) -> str:
    """The same for the Prefect page, with floors and plots."""
    parts = [f"# {run['state']}", f"> {run['message']}", "```\n" + "\n".join(summary_lines(run)[2:]) + "\n```"]
    if v := run.get("verdict"):
        rows = [[f["floor"], _share(f["found"]), f"{f['limit']:g}", "met" if f["met"] else "**broken**"] for f in v["floors"]]
        parts += ["## Gate", markdown_table(["floor", "found", "limit", ""], rows)]
        if c := v["comparison"]:
            rows = [[name.replace("_", " "), f"{value:.4g}"] for name, value in c.items()]
            parts += [f"Against {_opponent(v)}, on the same holdout rows:", markdown_table(["", ""], rows)]
    for title, name in (("Training", CURVES), ("Holdout", EVALUATION_PLOT)):
        if (folder / name).is_file():
            encoded = base64.b64encode((folder / name).read_bytes()).decode()
            parts += [f"## {title}", f"![{title}](data:image/png;base64,{encoded})"]
    return "\n\n".join(parts)
