"""What a person asks of models outside any run: judge one by hand, raise it again, clear away old ones."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from stat import S_ISREG
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from creche import registry
from creche.data import pixel_store
from creche.data.dvc_store import fetch_version
from creche.errors import DataError, ModelError
from creche.model.artifact import Model
from creche.pipeline import run_step
from creche.pipeline.evaluate import measure
from creche.pipeline.gate import judge, unfit
from creche.pipeline.pull import describe
from creche.project import (
    ACCEPTED,
    CHECKPOINTS,
    MODEL,
    PREPROCESSOR,
    SOURCE,
    SPLIT,
    TMP,
    WEIGHTS,
    ProjectPaths,
    RunPaths,
    write_record,
)
from creche.provenance import git_commit, sha256_of
from creche.recipe import Recipe, load
from creche.registry import Version, promotion_log
from creche.scoring.lineage import affected

MADE_BY = {
    ACCEPTED: "validate",
    SPLIT: "preprocess",
    PREPROCESSOR: "preprocess",
    WEIGHTS: "train",
    MODEL: "export",
}
DAY = 86400.0  # s; what was written to within one may be in use


def evaluate_manually(reference: str, against: str | None, paths: ProjectPaths) -> dict[str, Any]:
    """The verdict on any model, beside another one where it is given; nothing is recorded, nobody is crowned.

    Raises:
        ModelError: the model was trained on rows of the holdout, or nobody can tell.
    """
    challenger = _version(reference, paths)
    model = Model(challenger.path, challenger.digest)
    recipe = load(model.metadata["recipe"], paths.root)
    with _workroom(paths) as room:
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, room)
        table = pixel_store.read_table(room / SPLIT, room)
        holdout = table.filter(pc.field("side") == "holdout")
        if reason := unfit(challenger, holdout, recipe):
            raise ModelError(
                f"{reference} cannot be judged on the holdout of recipe {recipe.name}: {reason}"
            )
        evaluation, rows = measure(challenger.path, table, recipe)
        other = _version(against, paths) if against else None
        return judge(
            model,
            rows["predicted"].to_numpy(),
            set(challenger.trained_on),
            other,
            holdout,
            evaluation,
            recipe,
        )


def _version(reference: str, paths: ProjectPaths) -> Version:
    """A registered version, or a file, with what it was trained on where that is on record."""
    if not reference.endswith(".onnx"):
        return registry.with_groups(registry.named(reference, paths), paths)
    digest = sha256_of(Path(reference))
    kept = registry.cached(digest, paths)
    if kept.is_file():
        return registry.with_groups(Version("", "file", digest, kept, {}), paths)
    return Version("", "file", digest, Path(reference), {})


@contextmanager
def _workroom(paths: ProjectPaths) -> Iterator[RunPaths]:
    with tempfile.TemporaryDirectory() as name:
        yield paths.at(Path(name))


def reproduce(reference: str, paths: ProjectPaths, device: str = "auto") -> dict[str, Any]:
    """Raise a model again from its own data version, and hold the two against each other.

    `same`: the same bytes. If not, `changed` says what of code, libraries and machine is another, `first` the first file
    whose bytes differ with its step, and `agreement` how the two answer the holdout.

    Raises:
        ModelError: the recipe here is not the one that made it.
        DataError: its data version cannot be had.
    """
    model, number = registry.open_model(reference, paths)
    told = model.metadata["provenance"]
    recipe = load(model.metadata["recipe"], paths.root)
    tags = {} if number == "file" else registry.tags_of(recipe.name, number, paths) or {}
    if recipe.digest != told["recipe_digest"]:
        commit = tags.get("git_commit", "not on record")
        raise ModelError(
            f"recipe {recipe.name} here is not the one that made {reference} (digest {recipe.digest[:12]}, not "
            f"{told['recipe_digest'][:12]}): check out its commit ({commit}; here is {git_commit(paths.root)})"
        )
    with _workroom(paths) as room:
        _bring(recipe, told["data_version"], room)
        for step in ("validate", "preprocess", "train", "export"):
            run_step(step, recipe, room, **({"device": device} if step == "train" else {}))
        again = Model(room / MODEL)
        now = again.metadata["provenance"]
        same = again.digest == model.digest
        found = {
            "model": f"{recipe.name}@{number}",
            "same": same,
            "digest": model.digest,
            "digest_now": again.digest,
            "changed": [k for k in told if told[k] != now.get(k) and k != "fingerprint"],
            "first": None if same else _first_difference(tags, room),
            "agreement": _agreement(model, again, recipe, room),
        }
    return found


def _bring(recipe: Recipe, version: str, room: RunPaths) -> None:
    """The data version wanted: what the recipe's source is now, or an older one from where DVC keeps it."""
    failed = ""
    try:
        now = run_step("pull", recipe, room)
    except DataError as error:
        now, failed = {}, f"; and {error}"
    if now.get("version") != version:
        suffix = Path(recipe.data.path or recipe.data.url or "").suffix
        try:
            write_record(
                room / SOURCE,
                describe(fetch_version(version, room / f"data{suffix}", room.root), room),
            )
        except DataError as error:
            raise DataError(f"{error}{failed}") from None


def _first_difference(tags: Any, room: RunPaths) -> dict[str, Any] | None:
    """The first file, in the order of the steps, that is not as the run left it; None where the run left none."""
    with tempfile.TemporaryDirectory() as name:
        kept = room.run(tags["run"]).folder if "run" in tags else Path(name)
        if not kept.is_dir() and "run_id" in tags:
            kept = registry.run_files(tags["run_id"], Path(name), room)
        for file, step in MADE_BY.items():
            if not (kept / file).is_file():
                continue
            then, now = ((folder / file).read_bytes() for folder in (kept, room.folder))
            if then != now:
                length = min(len(then), len(now))
                differ = np.frombuffer(then[:length], np.uint8) != np.frombuffer(
                    now[:length], np.uint8
                )
                return {
                    "step": step,
                    "file": file,
                    "byte": int(differ.argmax()) if differ.any() else length,
                }
    return None


def _agreement(then: Model, now: Model, recipe: Recipe, room: RunPaths) -> dict[str, Any]:
    holdout = pixel_store.read_table(room / SPLIT, room).filter(pc.field("side") == "holdout")
    predictions = [m.predict(pixel_store.model_arrays(holdout, m.contract)) for m in (then, now)]
    difference = np.nan_to_num(np.abs(predictions[0].probabilities - predictions[1].probabilities))
    same = int((predictions[0].labels == predictions[1].labels).sum())
    return {
        "rows": holdout.num_rows,
        "same_label": same,
        "largest_difference": float(difference.max()),
    }


def prunable_versions(recipe: str, keep: int, paths: ProjectPaths) -> list[Version]:
    """Versions that nobody needs: never champion, in no scoring on record here, and not among the last `keep`."""
    with registry.store_errors(paths) as ask:
        found = sorted(registry.all_versions(ask, recipe), key=lambda v: -int(v.version))
    needed = {e.version for e in promotion_log.entries(recipe, paths)} | {
        registry.alias(recipe, paths)
    }
    used = {entry["model"]["digest"] for entry in affected(paths, recipe)}
    return [
        Version(
            recipe,
            str(v.version),
            v.tags["digest"],
            registry.cached(v.tags["digest"], paths),
            dict(v.tags),
        )
        for v in found[keep:]
        if str(v.version) not in needed and v.tags.get("digest") not in {*used, None}
    ]


def bytes_of(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return sum(status.st_size for status in _statuses(path) if S_ISREG(status.st_mode))


def last_modified(path: Path) -> float:
    """When a file, or anything in a folder, was last written to (s since the epoch)."""
    return max((status.st_mtime for status in _statuses(path)), default=time.time())


def _statuses(path: Path) -> Iterator[os.stat_result]:
    for each in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):  # whoever is at work renames and removes meanwhile
            yield each.lstat()


def stale_files(days: float, paths: ProjectPaths) -> Iterator[Path]:
    """What runs left and nothing leans on any more: folders of runs and checkpoints that are older than `days`, pixels that
    no table names, and what was put down for a moment. Nothing that was written to within a day."""
    now = time.time()
    yield from _older(paths.home / TMP, now - DAY)
    yield from _older(paths.home / CHECKPOINTS, now - max(days, 1) * DAY)
    if not registry.store_exists(paths):
        return  # another store may say what leans on the runs here
    needed, named = _needed(paths), _pixels(paths.root / "experiments")
    for run in sorted((paths.home / "runs").glob("*")):
        if run.name in needed or last_modified(run) > now - max(days, 1) * DAY:
            named |= _pixels(run)
        else:
            yield run
    yield from (
        p for p in _older(paths.home / pixel_store.PIXELS_FOLDER, now - DAY) if p.stem not in named
    )


def _older(folder: Path, than: float) -> Iterator[Path]:
    return (p for p in sorted(folder.glob("*")) if last_modified(p) < than)


def _needed(paths: ProjectPaths) -> set[str]:
    """Runs that a version, the last verdict on a recipe, or somebody at work leans on."""
    with registry.store_errors(paths) as ask:
        versions = registry.all_versions(ask)
    under_way = {r.name for r in registry.unfinished(paths)}
    recipes = {v.name for v in versions} | {p.stem for p in (paths.root / "recipes").glob("*.yaml")}
    last = [registry.last_verdict(name, paths) or {} for name in recipes]
    return (
        {t["run"] for t in (*(v.tags for v in versions), *last) if "run" in t}
        | under_way
        | {f"{r}-train" for r in under_way}
    )


def _pixels(folder: Path) -> set[str]:
    """The files of pixels that the tables in a folder name."""
    found = set()
    for path in folder.rglob("*.parquet"):
        with suppress(pa.ArrowInvalid, FileNotFoundError):  # what cannot be read names nothing
            told = (pq.read_schema(path).metadata or {}).get(pixel_store.PIXELS_KEY, b"")
            found.add(told.decode().rpartition("/")[2])
    return found


def clear(days: float, paths: ProjectPaths) -> list[tuple[Path, int]]:
    """Delete it; what went, with its bytes."""
    gone = []
    for path in list(stale_files(days, paths)):
        size = bytes_of(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        gone.append((path, size))
    return gone
