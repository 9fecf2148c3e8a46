"""Observations of penguins made at random, and what a scoring of them wrote."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa

from creche.data.sources import find_sources
from creche.model.artifact import Model
from creche.project import MANIFEST
from creche.records import ScoringManifest
from creche.reporting.scoring_page import scoring_page
from creche.scoring import batch
from creche.scoring.writer import OutputFormat


def observations(rows: int, seed: int) -> pa.Table:
    """Observations of which about one in fifty breaks the contract."""
    random = np.random.default_rng(seed)
    islands = ["Biscoe", "Dream", "Torgersen", "Signy"]  # no penguin comes from Signy
    return pa.table(
        {
            "ring": pa.array([f"{seed}-{i}" for i in range(rows)]),
            "island": random.choice(islands, rows, p=[0.4, 0.3, 0.29, 0.01]),
            "bill_length_mm": random.uniform(30, 60, rows),
            "bill_depth_mm": random.uniform(13, 22, rows),
            "flipper_length_mm": random.uniform(170, 230, rows),
            "body_mass_g": random.uniform(1990, 6300, rows),
        }
    )


def with_decimal_comma(model: Model, column: str, path: Path) -> Model:
    """Write the model with a contract that states a decimal comma for the column."""
    return with_column_keys(model, column, {"decimal_mark": ","}, path)


def with_column_keys(model: Model, column: str, keys: dict[str, Any], path: Path) -> Model:
    """Write the model with a contract that states further keys for the column."""
    altered = onnx.load_from_string(model.content)
    for entry in altered.metadata_props:
        if entry.key == "creche.contract":
            contract = json.loads(entry.value)
            contract[column].update(keys)
            entry.value = json.dumps(contract)
    onnx.save(altered, path)
    return Model(path)


def score_paths(
    paths: list[Path],
    model: Model,
    out: Path,
    version: str = "1",
    output_format: OutputFormat = "parquet",
) -> ScoringManifest:
    """Score files, folders or globs into `out`."""
    sources = find_sources([str(path) for path in paths])
    return batch.score(sources, model, version, out, output_format, page_of=scoring_page)


def published_bytes(out: Path) -> dict[str, bytes]:
    """Return the bytes of every file of a scoring, by its path below `out`.

    The manifest is left out: it states how long the scoring took.
    """
    content = {}
    for path in out.rglob("*"):
        if path.is_file() and path.name != MANIFEST:
            content[path.relative_to(out).as_posix()] = path.read_bytes()
    return content
