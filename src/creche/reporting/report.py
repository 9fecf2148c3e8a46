"""What people look at: plots as PNG, and pages that need nothing but themselves."""

import base64
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from io import BytesIO
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from creche.project import CURVES, EVALUATION_PLOT, MISTAKES

SHOWN_MISTAKES = 18
SHOWN_VERDICTS = 50
MARKERS = {
    "PROMOTE": ("^", "C2"),
    "INCONCLUSIVE": ("o", "C7"),
    "REJECT": ("v", "C3"),
}  # shape, color
SHOWN_ROWS = 200  # quarantined rows on a page; the file beside it holds them all
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem;
color: #1b2733 }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
td, th { padding: .3rem .7rem; border-bottom: 1px solid #d5dde5; text-align: left; white-space:
nowrap }
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
        color = "white" if matrix[i, j] > matrix.max() / 2 else "black"
        confusion.text(j, i, str(matrix[i, j]), ha="center", va="center", color=color)
    confusion.set(
        xticks=range(len(classes)), yticks=range(len(classes)), xlabel="predicted", ylabel="true"
    )
    confusion.set_xticklabels(classes, rotation=45, ha="right")
    confusion.set_yticklabels(classes)
    bins = [b for b in result["calibration"] if b["rows"]]
    reliability.plot([0, 1], [0, 1], color="gray", linewidth=1)
    sizes = [20 + 200 * b["rows"] / result["rows"] for b in bins]
    reliability.scatter([b["confidence"] for b in bins], [b["accuracy"] for b in bins], s=sizes)
    reliability.set(
        xlabel="stated probability", ylabel="share right", xlim=(0, 1.05), ylim=(0, 1.05)
    )
    _save(figure, path)


def mistakes(pixels: np.ndarray, rows: pd.DataFrame, path: Path) -> None:
    """The wrongly answered images of those (n, height, width, channels) that the model is surest
    of, with both labels.
    """
    sure = rows.filter(like="probability_").max(axis=1).to_numpy()
    wrong = np.flatnonzero((rows["actual"] != rows["predicted"]).to_numpy())
    shown = wrong[np.argsort(-sure[wrong], kind="stable")][:SHOWN_MISTAKES]
    figure = Figure(figsize=(9, 0.3 + 1.7 * max(1, -(-len(shown) // 6))), layout="constrained")
    for axes in (grid := np.atleast_1d(figure.subplots(max(1, -(-len(shown) // 6)), 6)).ravel()):
        axes.set_axis_off()
    for axes, i in zip(grid, shown, strict=False):
        row = rows.iloc[int(i)]
        axes.imshow(pixels[i].squeeze(), cmap="gray")
        axes.set_title(
            f"{row['predicted']} {sure[i]:.0%}\nis {row['actual']} (row {row['row']})", fontsize=8
        )
    if not len(shown):
        grid[0].text(0, 0.5, "none: every holdout image is answered right")
    _save(figure, path)


def _save(figure: Figure, path: Path | BytesIO) -> None:
    # No software version in the file: the same figures give the same bytes.
    figure.savefig(path, format="png", dpi=110, metadata={"Software": None})


def page(title: str, body: str) -> str:
    head = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    )
    heading = f"<h1>{escape(title)}</h1>"
    return f"{head}<style>{STYLE}</style></head><body>{heading}\n{body}\n</body></html>\n"


def html_table(header: list[str], rows: list[Any]) -> str:
    def cells(values: Any, tag: str) -> str:
        return "".join(f"<{tag}>{escape('' if v is None else str(v))}</{tag}>" for v in values)

    lines = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(header, 'th')}</tr></thead><tbody>{lines}</tbody></table>"


def markdown_table(header: list[str], rows: list[list[Any]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(str(c).replace("|", "\\|") for c in line) + " |" for line in lines
    )


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
        line("training", f"{t['epochs']} epochs on {t['device']}, epoch {t['selected_epoch']} kept")
    if e := shown.get("evaluation"):
        line(
            "holdout",
            f"accuracy {e['accuracy']:.4f}, 95 % interval {e['accuracy_low']:.4f} to "
            f"{e['accuracy_high']:.4f}",
        )
        line(
            "recall",
            ", ".join(
                f"{c} {_share(f['recall'])} of {f['rows']}" for c, f in e["by_class"].items()
            ),
        )
    if v := shown.get("verdict"):
        line("verdict", f"{v['verdict']} ({v['id']}), against {_opponent(v)}: {v['reason']}")
    if p := shown.get("promotion"):
        line(
            "model",
            f"version {p['version']}, digest "
            f"{p['digest'][:12]}{', champion' if p['is_champion'] else ''}",
        )
    if run["seconds"]:
        line("seconds", ", ".join(f"{name} {s:g}" for name, s in run["seconds"].items()))
    return lines


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _figure(value: float | None) -> str:
    return "unknown" if value is None else str(value) if isinstance(value, int) else f"{value:.4g}"


def _opponent(verdict: dict[str, Any]) -> str:
    return (
        f"champion version {verdict['against']['version']}" if verdict["against"] else "no champion"
    )


@dataclass(frozen=True)
class Section:
    """A part of a card, as text, as a table under a header, as a picture, or all of them."""

    title: str
    lines: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[Any, ...], ...] = ()
    picture: str = ""  # a file of the run


def _verdict_first(run: dict[str, Any]) -> list[Section]:
    """The verdict and the main figures: what a reader wants before the details."""
    verdict = run.get("verdict")
    evaluation = run.get("evaluation")
    if not verdict or not evaluation:
        return []
    accuracy_line = f"Accuracy {accuracy(evaluation)} on {evaluation['rows']} holdout rows."
    failed = [check["name"] for check in verdict["checks"] if not check["passed"]]
    checks_line = f"{len(verdict['checks'])} checks, all passed."
    if failed:
        total = len(verdict["checks"])
        checks_line = f"{len(failed)} of {total} checks failed: {', '.join(failed)}."
    rows = []
    for name, metrics in evaluation["by_class"].items():
        rows.append((name, metrics["rows"], _share(metrics["recall"])))
    lines = (verdict["reason"], accuracy_line, checks_line)
    title = f"{verdict['verdict']}, against {_opponent(verdict)}"
    return [Section(title, lines, ("class", "rows", "recall"), tuple(rows))]


def sections(run: dict[str, Any]) -> list[Section]:
    """What there is to say of a model; every figure comes from the run's JSON."""
    found = _verdict_first(run)
    if about := run.get("about"):
        found.append(
            Section(
                "What it is for",
                (about["description"] + ".", f"Not for: {about['out_of_scope']}"),
                ("it takes", "kind", "unit", "from", "to", "values"),
                tuple(
                    (
                        n,
                        *(_cell(c.get(k)) for k in ("kind", "unit", "min", "max")),
                        _cell(c.get("values") or _size(c)),
                    )
                    for n, c in about["takes"].items()
                ),
            )
        )
    if (v := run.get("validation")) and (source := run.get("source")):
        said = (
            f"{source['path']}, version {source['version']}: {v['rows']} rows, {v['accepted']} "
            "accepted, "
        )
        said += f"{v['quarantined']} quarantined."
        license = (f"License {about['license']}. {about['citation']}",) if about else ()
        found.append(
            Section(
                "Data",
                (said, *license),
                ("quarantined because", "rows"),
                tuple(v["reasons"].items()),
            )
        )
    if split := run.get("split"):
        classes = list(split["train"])
        rows = tuple((side, *(counts[c] for c in classes)) for side, counts in split.items())
        found.append(Section("Split, no group on two sides", (), ("side", *classes), rows))
    if t := run.get("training"):
        team = f", shared by {t['workers']} workers" if t.get("workers", 1) > 1 else ""
        said = (
            f"{t['epochs']} epochs on {t['device']}{team}; epoch {t['selected_epoch']} is kept, "
            f"the {t['monitored']} rows watched."
        )
        found.append(Section("Training", (said,), picture=CURVES))
    if e := run.get("evaluation"):
        found += _measured(e)
    if v := run.get("verdict"):
        found += _judged(v)
    if p := run.get("promotion"):
        load = f"mlflow.pyfunc.load_model('models:/{run['recipe']}/{p['version']}')"
        found.append(
            Section(
                "How to load it",
                (
                    f"Version {p['version']} of {run['recipe']}, SHA-256 {p['digest']}.",
                    f"Score files: creche score FILES --model {run['recipe']}@{p['version']} "
                    "--out FOLDER",
                    f"In Python: {load}, or its model.onnx in onnxruntime alone: raw columns in, "
                    "each [N, 1].",
                    f"Raise it again: creche reproduce {run['recipe']}@{p['version']}",
                ),
            )
        )
    return found


def _size(column: dict[str, Any]) -> str | None:
    if column["kind"] != "image":
        return None
    return f"{column['width']} × {column['height']} pixels, {column['channels']} channels, 0 to 255"


def _cell(value: Any) -> str:
    return (
        ""
        if value is None
        else ", ".join(map(str, value))
        if isinstance(value, list | tuple)
        else str(value)
    )


def _measured(e: dict[str, Any]) -> list[Section]:
    interval = f"95 % interval {e['accuracy_low']:.4f} to {e['accuracy_high']:.4f}"
    said = (
        f"Accuracy {e['accuracy']:.4f} on {e['rows']} holdout rows ({interval}), log loss "
        f"{e['log_loss']:.4f}, "
    )
    said += f"expected calibration error {e['expected_calibration_error']:.4f}."
    sets = e["sets"]
    covered = (
        f"Prediction sets, promised to hold the truth in {sets['coverage']:.0%}, do so in "
        f"{sets['covered']} of {e['rows']} "
    )
    covered += f"rows; a set holds {sets['mean_size']:.2f} classes on average."
    rows: tuple[tuple[Any, ...], ...]
    rows = tuple(
        (c, f["rows"], _share(f["precision"]), _share(f["recall"]))
        for c, f in e["by_class"].items()
    )
    found = [
        Section(
            "Holdout",
            (said, covered),
            ("class", "rows", "precision", "recall"),
            rows,
            EVALUATION_PLOT,
        )
    ]
    if "mistakes" in e:
        found.append(
            Section(
                "Surest mistakes",
                (f"{e['mistakes']} holdout images are answered wrongly.",),
                picture=MISTAKES,
            )
        )
    if e["slices"]:
        rows = tuple(
            (f"{s['column']} {s['value']}", s["rows"], _share(s["accuracy"])) for s in e["slices"]
        )
        found.append(Section("Slices", (), ("slice", "rows", "accuracy"), rows))
    return found


def _judged(v: dict[str, Any]) -> list[Section]:
    rows = tuple(
        (
            check["name"],
            _figure(check["value"]),
            _figure(check["threshold"]),
            "passed" if check["passed"] else "FAILED",
        )
        for check in v["checks"]
    )
    said = f"{v['verdict']} ({v['id']}), against {_opponent(v)}: {v['reason']}"
    found = [Section("Gate", (said,), ("check", "value", "threshold", ""), rows)]
    if c := v["comparison"]:
        figures = [
            (name.replace("_", " "), _figure(value))
            for name, value in c.items()
            if name != "slices"
        ]
        figures += [(f"p worse on {s['slice']}", _figure(s["p_worse"])) for s in c["slices"]]
        found.append(
            Section(
                f"Beside {_opponent(v)}, on the same holdout rows", (), ("", ""), tuple(figures)
            )
        )
    return found


def check_rows(verdict: dict[str, Any]) -> list[list[Any]]:
    """Every check with its value and threshold, for a table."""
    rows = []
    for check in verdict["checks"]:
        outcome = "passed" if check["passed"] else "FAILED"
        rows.append([check["name"], check["value"], check["threshold"], outcome])
    return rows


def gate_rows(verdict: dict[str, Any]) -> list[dict[str, Any]]:
    """Every floor, broken ones first, and where there was a champion to be compared with, what the
    comparison found.
    """
    floors, *beside = _judged(verdict)
    ordered = sorted(floors.rows, key=lambda row: bool(row[-1] == "passed"))
    rows = [
        *ordered,
        *(
            (f"beside the champion: {name}", value, "", "")
            for s in beside
            for name, value in s.rows
        ),
    ]
    return [dict(zip(("check", "value", "threshold", "outcome"), row, strict=True)) for row in rows]


def accuracy_markdown(recipe: str, verdicts: list[dict[str, Any]]) -> str:
    """Holdout accuracy over time, from the recorded verdicts, latest first."""
    drawn = BytesIO()
    _over_time(verdicts, drawn)
    header = ["time (UTC)", "verdict", "accuracy, 95 % interval", "version", "data", "run"]
    rows = [
        [
            f"{v['time']:%Y-%m-%d %H:%M}",
            v["verdict"],
            accuracy(v),
            v["version"] or "",
            v["data_version"][:8],
            v["run"],
        ]
        for v in verdicts[:SHOWN_VERDICTS]
    ]
    title = (
        f"## The last {SHOWN_VERDICTS} verdicts"
        if len(verdicts) > SHOWN_VERDICTS
        else "## Verdicts"
    )
    picture = f"![accuracy over time]({_data_uri(drawn.getvalue())})"
    return "\n\n".join([f"# Accuracy of {recipe}", picture, title, markdown_table(header, rows)])


def accuracy(figures: dict[str, Any]) -> str:
    return (
        f"{figures['accuracy']:.4f} ({figures['accuracy_low']:.4f}–{figures['accuracy_high']:.4f})"
    )


def _over_time(verdicts: list[dict[str, Any]], path: BytesIO) -> None:
    figure = Figure(figsize=(9, 3.5), layout="constrained")
    axes = figure.subplots()
    for verdict, (marker, color) in MARKERS.items():
        if of := [v for v in verdicts if v["verdict"] == verdict]:
            found = [v["accuracy"] for v in of]
            reach = [
                [v["accuracy"] - v["accuracy_low"] for v in of],
                [v["accuracy_high"] - v["accuracy"] for v in of],
            ]
            axes.errorbar(
                [v["time"] for v in of],
                found,
                reach,
                fmt=marker,
                color=color,
                elinewidth=1,
                capsize=3,
                label=verdict,
            )
    times = [v["time"] for v in verdicts]
    room = max((max(times) - min(times)) / 20, timedelta(minutes=1))
    axes.set_xlim(min(times) - room, max(times) + room)
    locator = AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.set(xlabel="time (UTC)", ylabel="holdout accuracy, 95 % interval")
    axes.legend()
    _save(figure, path)


def run_markdown(run: dict[str, Any], folder: Path, links: list[str]) -> str:
    """A run for the Prefect page: its state, where to look further, and all that is known of the
    model.
    """
    told = "\n".join(
        part
        for line in summary_lines(run)[2:]
        for part in wrap(line, 96, subsequent_indent=" " * 12)
    )
    parts = [
        f"# {run['state']}",
        f"> {run['message']}",
        "\n".join(f"- {link}" for link in links),
        f"```\n{told}\n```",
    ]
    for s in sections(run):
        parts += [f"## {s.title}", *s.lines]
        if s.rows:
            parts.append(
                markdown_table(
                    list(s.header), [["" if c is None else c for c in row] for row in s.rows]
                )
            )
        if s.picture and (folder / s.picture).is_file():
            parts.append(f"![{s.title}]({_picture(folder / s.picture)})")
    return "\n\n".join(parts)


def card(run: dict[str, Any], folder: Path) -> str:
    """The model card, as HTML without links to anywhere (Mitchell et al., 2019, Model Cards for
    Model Reporting).
    """
    body = []
    for s in sections(run):
        body += [f"<h2>{escape(s.title)}</h2>", *(f"<p>{escape(line)}</p>" for line in s.lines)]
        if s.rows:
            body.append(html_table(list(s.header), list(s.rows)))
        if s.picture and (folder / s.picture).is_file():
            body.append(
                f'<img alt="{escape(s.title)}" src="{_picture(folder / s.picture)}" '
                'style="max-width: 100%">'
            )
    subtitle = f"<p>Run {escape(run['run'])}</p>"
    return page(f"Model card: {run['recipe']}", subtitle + "\n".join(body))


def _picture(path: Path) -> str:
    return _data_uri(path.read_bytes())


def _data_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
