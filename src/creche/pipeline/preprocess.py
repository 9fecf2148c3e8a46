"""Split by group, then fit vocabulary and scaling on the training side alone."""

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


def run(recipe: Recipe, paths: RunPaths) -> SplitReport:
    """Write the accepted rows with their `side` and group hash, and the fitted transform; return
    counts by side.
    """
    accepted = pq.read_table(paths / ACCEPTED)
    table, transform = preprocess(pixel_store.read_table(paths / ACCEPTED, paths), recipe)
    with atomic_write(paths / SPLIT) as part:  # with images as they were there: paths in a file
        pq.write_table(
            accepted.append_column("side", table["side"]).append_column(
                "group_hash", table["group_hash"]
            ),
            part,
        )
    summary = counts(table, recipe)
    write_json(paths / PREPROCESSOR, {**transform.to_dict(), "counts": summary})
    return SplitReport(**summary)


def preprocess(accepted: pa.Table, recipe: Recipe) -> tuple[pa.Table, Preprocessor]:
    """The rows with `side` and `group_hash`, and the transform fitted on side `train`.

    Raises:
        DataError: a part of the split is empty, or a class has no row to learn from.
    """
    hashes = group_hashes(accepted, recipe)
    sides = assign(hashes, recipe.split)
    if apart := recipe.split.designated_holdout:
        sides[np.asarray(pc.fill_null(pc.equal(accepted[apart[0]], apart[1]), False))] = "holdout"
    for side, share in (("holdout", 1.0), ("validation", recipe.split.validation), ("train", 1.0)):
        if share and side not in sides:
            raise DataError(
                f"none of the {accepted.num_rows} accepted rows falls into the {side} part: more data, more groups, "
                f"or another split.seed"
            )
    table = accepted.append_column("side", pa.array(sides)).append_column(
        "group_hash", pa.array(hashes)
    )
    training = table.filter(pa.array(sides == "train"))
    labels = set(training[recipe.label].to_pylist())
    absent = [c for c in recipe.classes if c not in labels]
    if absent:
        raise DataError(
            f"no accepted row of {recipe.label} {absent[0]} falls on the training side "
            f"({training.num_rows} rows): more data, another split.seed, or fewer values under columns.{recipe.label}"
        )
    columns = pixel_store.model_arrays(training, recipe.contract().subset(recipe.features))
    return table, Preprocessor.fit(recipe.features, recipe.classes, columns)


def group_hashes(table: pa.Table, recipe: Recipe) -> np.ndarray:
    """A stable 64-bit hash of each row's group key (n,): the recipe's group columns, else its
    features' content.

    SHA-256 of the seed and the key's values, so that a row's place depends on nothing but itself:
    appending rows moves no other, and equal rows meet.
    """
    names = recipe.group or tuple(recipe.features)
    keys = zip(*(table[n].to_pylist() for n in names), strict=True)
    seed = recipe.split.seed
    return np.array(
        [_hash(f"{seed}\x1f" + "\x1f".join(map(repr, key))) for key in keys], dtype=np.uint64
    )


def _hash(key: str) -> int:
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big")


def assign(hashes: np.ndarray, split: Split) -> np.ndarray:
    """The side of each hash (n,): the lowest share of the range is holdout, the next validation,
    the rest train.
    """
    place = hashes.astype(np.float64) / 2**64  # [0, 1]
    held, watched = split.holdout_share, split.holdout_share + split.validation
    return np.where(place < held, "holdout", np.where(place < watched, "validation", "train"))


def counts(table: pa.Table, recipe: Recipe) -> dict[str, dict[str, int]]:
    """Side → class → rows, zeros included."""
    pairs = list(zip(table["side"].to_pylist(), table[recipe.label].to_pylist(), strict=True))
    return {side: {c: pairs.count((side, c)) for c in recipe.classes} for side in SIDES}
