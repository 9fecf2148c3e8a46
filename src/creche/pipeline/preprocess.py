"""Split the accepted rows by group, then fit the preprocessor on the training side alone."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche.data import pixel_store
from creche.errors import DataError
from creche.model.preprocessor import Preprocessor
from creche.project import ACCEPTED, PREPROCESSOR, SPLIT, RunPaths, atomic_write, write_json
from creche.recipe import Recipe, Split
from creche.records import SplitReport

INPUTS = (ACCEPTED,)
OUTPUTS = (SPLIT, PREPROCESSOR)
SIDES = ("train", "validation", "holdout")
HASH_RANGE = 2**64


def run(recipe: Recipe, paths: RunPaths) -> SplitReport:
    """Write the accepted rows with their `side` and group hash, and the fitted preprocessor; return
    counts by side.
    """
    accepted = pq.read_table(paths / ACCEPTED)
    table, preprocessor = preprocess(pixel_store.read_table(paths / ACCEPTED, paths), recipe)
    # `accepted` has positions in the pixel store where `table` has the pixels themselves.
    split = accepted.append_column("side", table["side"])
    split = split.append_column("group_hash", table["group_hash"])
    with atomic_write(paths / SPLIT) as temporary:
        pq.write_table(split, temporary)
    row_counts = counts(table, recipe)
    write_json(paths / PREPROCESSOR, {**preprocessor.to_dict(), "counts": row_counts})
    return SplitReport(**row_counts)


def preprocess(accepted: pa.Table, recipe: Recipe) -> tuple[pa.Table, Preprocessor]:
    """Return the rows with `side` and `group_hash`, and the preprocessor fitted on side `train`.

    Raises:
        DataError: a part of the split is empty, or a class has no training row.
    """
    hashes = group_hashes(accepted, recipe)
    sides = _sides(accepted, hashes, recipe.split)
    table = accepted.append_column("side", pa.array(sides))
    table = table.append_column("group_hash", pa.array(hashes))
    training = table.filter(pa.array(sides == "train"))
    _check_classes(training, recipe)
    columns = pixel_store.model_arrays(training, recipe.contract().subset(recipe.features))
    return table, Preprocessor.fit(recipe.features, recipe.classes, columns)


def _sides(accepted: pa.Table, hashes: np.ndarray, split: Split) -> np.ndarray:
    """Return the side of each row (n,), with the holdout that the recipe designates, if any.

    Raises:
        DataError: no row falls into one of the parts.
    """
    sides = assign(hashes, split)
    if split.designated_holdout:
        name, value = split.designated_holdout
        is_holdout = pc.fill_null(pc.equal(accepted[name], value), False)
        sides[np.asarray(is_holdout)] = "holdout"
    required = ["holdout", "train"]
    if split.validation:
        required.insert(1, "validation")
    for side in required:
        if side not in sides:
            raise DataError(
                f"none of the {accepted.num_rows} accepted rows falls into the {side} part: "
                "more data, more groups, or another split.seed"
            )
    return sides


def _check_classes(training: pa.Table, recipe: Recipe) -> None:
    labels = set(training[recipe.label].to_pylist())
    for name in recipe.classes:
        if name not in labels:
            raise DataError(
                f"no accepted row of {recipe.label} {name} falls on the training side "
                f"({training.num_rows} rows): more data, another split.seed, or fewer values "
                f"under columns.{recipe.label}"
            )


def group_hashes(table: pa.Table, recipe: Recipe) -> np.ndarray:
    """Return a stable 64-bit hash of each row's group key (n,).

    The key is the recipe's group columns, else the content of its features. The hash is of the seed
    and the key's values alone, so that appending rows changes no other row's side, and equal rows
    are on one side.
    """
    names = recipe.group or tuple(recipe.features)
    seed = recipe.split.seed
    hashes = []
    for key in zip(*(table[name].to_pylist() for name in names), strict=True):
        text = "\x1f".join(repr(value) for value in key)
        hashes.append(_hash(f"{seed}\x1f{text}"))
    return np.array(hashes, dtype=np.uint64)


def _hash(key: str) -> int:
    """Return the first 64 bits of the key's SHA-256."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def assign(hashes: np.ndarray, split: Split) -> np.ndarray:
    """Return the side of each hash (n,): the lowest share of the range is holdout, the next
    validation, the rest train.
    """
    position = hashes.astype(np.float64) / HASH_RANGE  # 0..1
    holdout_end = split.holdout_share
    validation_end = split.holdout_share + split.validation
    not_holdout = np.where(position < validation_end, "validation", "train")
    return np.where(position < holdout_end, "holdout", not_holdout)


def counts(table: pa.Table, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Return side → class → rows, zeros included."""
    sides, labels = table["side"].to_pylist(), table[recipe.label].to_pylist()
    pairs = list(zip(sides, labels, strict=True))
    by_side: dict[str, dict[str, int]] = {}
    for side in SIDES:
        by_side[side] = {name: pairs.count((side, name)) for name in recipe.classes}
    return by_side
