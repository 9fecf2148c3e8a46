"""The manifest of a scoring: which files, which model, and how many rows went where."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from creche import __version__
from creche.contract import UNKNOWN
from creche.data.folder_tables import SkippedFiles
from creche.data.quarantine import most_frequent_first
from creche.errors import DataError, listed, shortened
from creche.model.artifact import Model
from creche.project import read_record
from creche.scoring.label_figures import label_figures
from creche.scoring.label_sums import LabelSums
from creche.scoring.ood_counts import OOD_RANGES

if TYPE_CHECKING:
    # At run time Pydantic is imported where a manifest is made or read: it takes 0.1 s.
    from creche.records import (
        InputSummary,
        KnownLabels,
        ModelReference,
        OodScoreCount,
        ScoringManifest,
    )
    from creche.scoring.staging import CommitRecord

SUMMARY_REASONS = 5  # reasons that a summary lists
SUMMARY_FILES = 5  # files that were not read, and that it names
SUMMARY_LENGTH = 500  # characters of each
SHOWN_NAME = 100  # characters of the name of a column
# Metrics that a summary states beside the accuracy → their title.
SUMMARY_METRICS = {
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "log_loss": "log loss",
    "brier_score": "Brier score",
}


def build_manifest(
    commits: Sequence["CommitRecord"],
    skipped: SkippedFiles,
    model: Model,
    version: str,
    seconds: float,
) -> "ScoringManifest":
    """Return the manifest of a scoring.

    Its state is `refused` where no row was scored, or more rows are quarantined than the model's
    recipe allows in a batch.

    Args:
        commits: the outcome of each file, in order.
        skipped: the files beside them that were not read.
        seconds: duration of the scoring.
    """
    from creche.records import ScoringManifest, SkippedInput

    rows = sum(commit.rows for commit in commits)
    scored = sum(commit.scored for commit in commits)
    quarantined = sum(commit.quarantined for commit in commits)
    is_refused = not scored or quarantined / rows > batch_limit(model)
    return ScoringManifest(
        state="refused" if is_refused else "scored",
        engine=__version__,
        model=_model_reference(model, version),
        rows=rows,
        scored=0 if is_refused else scored,
        quarantined=quarantined,
        withheld=scored if is_refused else 0,
        reasons=_total_reasons(commits),
        labels={} if is_refused else _total_labels(commits, model),
        ood_scores=[] if is_refused else _ood_scores(commits),
        known_labels=None if is_refused else _known_labels(commits, model),
        inputs=[_input_summary(commit) for commit in commits],
        skipped=[SkippedInput(file=file.name, kind=file.kind) for file in skipped.named],
        hidden_files=skipped.hidden,
        seconds=round(seconds, 3),
    )


def _model_reference(model: Model, version: str) -> "ModelReference":
    from creche.records import ModelReference

    return ModelReference(
        recipe=model.metadata.recipe,
        version=version,
        digest=model.digest,
        verdict_id=model.verdict_id,
        data_version=model.metadata.provenance.data_version,
    )


def _input_summary(commit: "CommitRecord") -> "InputSummary":
    from creche.records import InputSummary

    return InputSummary(
        file=commit.file,
        format=commit.format,
        sha256=commit.sha256,
        predictions=commit.predictions,
        rows=commit.rows,
        scored=commit.scored,
        renamed=commit.renamed,
    )


def batch_limit(model: Model) -> float:
    """Return the share of rows (0..1) that a batch may have in quarantine."""
    return model.metadata.quarantine.batch_max_share


def _total_reasons(commits: Sequence["CommitRecord"]) -> dict[str, int]:
    """Return reason → rows of all files, the most frequent first."""
    totals: Counter[str] = Counter()
    for commit in commits:
        totals.update(commit.reasons)
    return most_frequent_first(totals)


def _total_labels(commits: Sequence["CommitRecord"], model: Model) -> dict[str, int]:
    """Return predicted class → rows of all files, without those that were never predicted."""
    totals = np.sum([commit.label_counts for commit in commits], axis=0).tolist()
    labels = (*model.classes, UNKNOWN)
    return {label: count for label, count in zip(labels, totals, strict=True) if count}


def _known_labels(commits: Sequence["CommitRecord"], model: Model) -> "KnownLabels | None":
    total = LabelSums()
    for commit in commits:
        if commit.label_sums is not None:
            total.add(commit.label_sums)
    return label_figures(model.label, model.classes, total)


def _ood_scores(commits: Sequence["CommitRecord"]) -> "list[OodScoreCount]":
    from creche.records import OodScoreCount

    totals = np.sum([commit.ood_counts for commit in commits], axis=0).tolist()
    counts = []
    for ood_range, rows in zip(OOD_RANGES, totals, strict=True):
        counts.append(OodScoreCount(low=ood_range.low, high=ood_range.high, rows=rows))
    return counts


def read_manifest(path: Path) -> "ScoringManifest":
    """Read the manifest of a scoring.

    Raises:
        DataError: it is of another version of creche, or no manifest.
    """
    manifest = find_manifest(path)
    if manifest is None:
        raise DataError(f"{path} is not the manifest of a scoring")
    return manifest


def find_manifest(path: Path) -> "ScoringManifest | None":
    """Return the manifest at a path, None where there is no file or another one.

    Raises:
        DataError: it is the manifest of another version of creche.
    """
    if not path.is_file():
        return None
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or "engine" not in content:
        return None
    from creche.records import ScoringManifest

    expected = ScoringManifest.model_fields["format"].default
    # Manifests of format 1 do not state it.
    written = content.get("format", 1)
    if written != expected:
        raise DataError(
            f"{path} has manifest format {written}, and this version of creche reads format "
            f"{expected}: score the files again with another --out"
        )
    return read_record(path, ScoringManifest)


def summary_lines(manifest: "ScoringManifest") -> list[str]:
    """Return a scoring in a few lines: counts, renamed columns, labels, figures where the labels
    are known, reasons, skipped files.
    """
    model = manifest.model
    lines = [
        f"{manifest.scored} of {manifest.rows} rows scored with {model.recipe} version "
        f"{model.version} ({model.digest[:12]}), {manifest.quarantined} quarantined"
    ]
    renamed: dict[str, str] = {}
    for entry in manifest.inputs:
        renamed.update(entry.renamed)
    if renamed:
        # A header may be of several lines.
        pairs = [
            f"{shortened(header_name, SHOWN_NAME)} as {name}"
            for header_name, name in renamed.items()
        ]
        lines.append("read " + ", ".join(pairs))
    if manifest.labels:
        lines.append(", ".join(f"{label} {count}" for label, count in manifest.labels.items()))
    if manifest.known_labels is not None:
        lines += _known_label_lines(manifest.known_labels)
    lines += [f"quarantined: {text}" for text in frequent_reasons(manifest, SUMMARY_REASONS)]
    return lines + _skipped_lines(manifest)


def _known_label_lines(known: "KnownLabels") -> list[str]:
    """Return what the model is worth on the rows whose label is known, in a few lines."""
    accuracy = known.metrics["accuracy"]
    figures = []
    for name, title in SUMMARY_METRICS.items():
        figures.append(f"{title} {known.metrics[name].value:.4f}")
    unknown = sum(known.unknown.values())
    lines = [
        f"accuracy {accuracy.value:.4f} (95 % interval {accuracy.low:.4f} to {accuracy.high:.4f}): "
        f"{known.correct} of the {known.rows} scored rows that state their {known.column} are "
        "predicted correctly",
        f"{', '.join(figures)}, calibration error {known.expected_calibration_error:.4f}; "
        f"{unknown} of these rows are predicted as unknown",
    ]
    if known.other_rows:
        lines.append(
            f"{known.other_rows} further rows state a {known.column} that is no class of the "
            "model, and count in none of these figures"
        )
    return lines


def _skipped_lines(manifest: "ScoringManifest") -> list[str]:
    lines = []
    if manifest.skipped:
        files = [f"{entry.file} ({entry.kind})" for entry in manifest.skipped]
        lines.append(f"not read: {listed(files, SUMMARY_FILES, SUMMARY_LENGTH)}")
    if manifest.hidden_files:
        lines.append(f"not read: {manifest.hidden_files:,} hidden or marker files")
    return lines


def frequent_reasons(manifest: "ScoringManifest", count: int) -> list[str]:
    """Return the most frequent reasons, each with its rows."""
    reasons = list(manifest.reasons.items())[:count]
    return [f"{rows} × {reason}" for reason, rows in reasons]
