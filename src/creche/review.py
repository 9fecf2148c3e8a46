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

from creche import history, images, registry
from creche.errors import DataError, ModelError
from creche.model_file import Model
from creche.places import ACCEPTED, CHECKPOINTS, MODEL, SOURCE, SPLIT, TMP, TRANSFORM, WEIGHTS, Places, write_json
from creche.provenance import git_commit, sha256_of
from creche.recipe import Recipe, load
from creche.registry import Version
from creche.scoring.lineage import affected
from creche.steps import run_step
from creche.steps.evaluate import measure
from creche.steps.judge import judge, unfit
from creche.steps.pull import describe, fetch

MADE_BY = {ACCEPTED: "validate", SPLIT: "preprocess", TRANSFORM: "preprocess", WEIGHTS: "train", MODEL: "export"}
DAY = 86400.0  # s; what was written to within one may be in use


def judge_by_hand(reference: str, against: str | None, places: Places) -> dict[str, Any]:
    """The verdict on any model, beside another one where it is given; nothing is recorded, nobody is crowned.

    Raises:
        ModelError: the model was trained on rows of the holdout, or nobody can tell.
    """
    challenger = _version(reference, places)
    model = Model(challenger.path, challenger.digest)
    recipe = load(model.metadata["recipe"], places.root)
    with _workroom(places) as room:
        for step in ("pull", "validate", "preprocess"):
            run_step(step, recipe, room)
        table = images.read(room / SPLIT, room)
        holdout = table.filter(pc.field("side") == "holdout")
        if reason := unfit(challenger, holdout, recipe):
            raise ModelError(f"{reference} cannot be judged on the holdout of recipe {recipe.name}: {reason}")
        evaluation, rows = measure(challenger.path, table, recipe)
        other = _version(against, places) if against else None
        return judge(model, rows["predicted"].to_numpy(), set(challenger.trained_on), other, holdout, evaluation, recipe)


def _version(reference: str, places: Places) -> Version:
    """A registered version, or a file, with what it was trained on where that is on record."""
    if not reference.endswith(".onnx"):
        return registry.with_groups(registry.named(reference, places), places)
    digest = sha256_of(Path(reference))
    kept = registry.cached(digest, places)
    if kept.is_file():
        return registry.with_groups(Version("", "file", digest, kept, {}), places)
    return Version("", "file", digest, Path(reference), {})


@contextmanager
def _workroom(places: Places) -> Iterator[Places]:
    with tempfile.TemporaryDirectory() as name:
        yield Places(places.root, places.home, Path(name))


def reproduce(reference: str, places: Places, device: str = "auto") -> dict[str, Any]:
    """Raise a model again from its own data version, and hold the two against each other.

    `same`: the same bytes. If not, `changed` says what of code, libraries and machine is another, `first` the first file
    whose bytes differ with its step, and `agreement` how the two answer the holdout.

    Raises:
        ModelError: the recipe here is not the one that made it.
        DataError: its data version cannot be had.
    """
    model, number = registry.open_model(reference, places)
    told = model.metadata["provenance"]
    recipe = load(model.metadata["recipe"], places.root)
    tags = {} if number == "file" else registry.tags_of(recipe.name, number, places) or {}
    if recipe.digest != told["recipe_digest"]:
        commit = tags.get("git_commit", "not on record")
        raise ModelError(
            f"recipe {recipe.name} here is not the one that made {reference} (digest {recipe.digest[:12]}, not "
            f"{told['recipe_digest'][:12]}): check out its commit ({commit}; here is {git_commit(places.root)})"
        )
    with _workroom(places) as room:
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


def _bring(recipe: Recipe, version: str, room: Places) -> None:
    """The data version wanted: what the recipe's source is now, or an older one from where DVC keeps it."""
    failed = ""
    try:
        now = run_step("pull", recipe, room)
    except DataError as error:
        now, failed = {}, f"; and {error}"
    if now.get("version") != version:
        suffix = Path(recipe.data.path or recipe.data.url or "").suffix
        try:
            write_json(room / SOURCE, describe(fetch(version, room / f"data{suffix}", room.root), room))
        except DataError as error:
            raise DataError(f"{error}{failed}") from None


def _first_difference(tags: Any, room: Places) -> dict[str, Any] | None:
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
                differ = np.frombuffer(then[:length], np.uint8) != np.frombuffer(now[:length], np.uint8)
                return {"step": step, "file": file, "byte": int(differ.argmax()) if differ.any() else length}
    return None


def _agreement(then: Model, now: Model, recipe: Recipe, room: Places) -> dict[str, Any]:
    holdout = images.read(room / SPLIT, room).filter(pc.field("side") == "holdout")
    answers = [m.answer(images.columns(holdout, m.contract)) for m in (then, now)]
    difference = np.nan_to_num(np.abs(answers[0].probabilities - answers[1].probabilities))
    same = int((answers[0].labels == answers[1].labels).sum())
    return {"rows": holdout.num_rows, "same_label": same, "largest_difference": float(difference.max())}


def superfluous(recipe: str, keep: int, places: Places) -> list[Version]:
    """Versions that nobody needs: never champion, in no scoring on record here, and not among the last `keep`."""
    with registry.asking(places) as ask:
        found = sorted(registry.all_versions(ask, recipe), key=lambda v: -int(v.version))
    needed = {e.version for e in history.entries(recipe, places)} | {registry.alias(recipe, places)}
    used = {entry["model"]["digest"] for entry in affected(places, recipe)}
    return [
        Version(recipe, str(v.version), v.tags["digest"], registry.cached(v.tags["digest"], places), dict(v.tags))
        for v in found[keep:]
        if str(v.version) not in needed and v.tags.get("digest") not in {*used, None}
    ]


def bytes_of(path: Path) -> int:
    """Of a file, or of all files in a folder."""
    return sum(status.st_size for status in _statuses(path) if S_ISREG(status.st_mode))


def touched(path: Path) -> float:
    """When a file, or anything in a folder, was last written to (s since the epoch)."""
    return max((status.st_mtime for status in _statuses(path)), default=time.time())


def _statuses(path: Path) -> Iterator[os.stat_result]:
    for each in (path, *path.rglob("*")):
        with suppress(FileNotFoundError):  # whoever is at work renames and removes meanwhile
            yield each.lstat()


def forgotten(days: float, places: Places) -> Iterator[Path]:
    """What runs left and nothing leans on any more: folders of runs and checkpoints that are older than `days`, pixels that
    no table names, and what was put down for a moment. Nothing that was written to within a day."""
    now = time.time()
    yield from _older(places.home / TMP, now - DAY)
    yield from _older(places.home / CHECKPOINTS, now - max(days, 1) * DAY)
    if not registry.registered(places):
        return  # another store may say what leans on the runs here
    needed, named = _needed(places), _pixels(places.root / "experiments")
    for run in sorted((places.home / "runs").glob("*")):
        if run.name in needed or touched(run) > now - max(days, 1) * DAY:
            named |= _pixels(run)
        else:
            yield run
    yield from (p for p in _older(places.home / images.PIXELS, now - DAY) if p.stem not in named)


def _older(folder: Path, than: float) -> Iterator[Path]:
    return (p for p in sorted(folder.glob("*")) if touched(p) < than)


def _needed(places: Places) -> set[str]:
    """Runs that a version, the last verdict on a recipe, or somebody at work leans on."""
    with registry.asking(places) as ask:
        versions = registry.all_versions(ask)
    under_way = {r.name for r in registry.unfinished(places)}
    recipes = {v.name for v in versions} | {p.stem for p in (places.root / "recipes").glob("*.yaml")}
    last = [registry.last_verdict(name, places) or {} for name in recipes]
    return (
        {t["run"] for t in (*(v.tags for v in versions), *last) if "run" in t} | under_way | {f"{r}-train" for r in under_way}
    )


def _pixels(folder: Path) -> set[str]:
    """The files of pixels that the tables in a folder name."""
    found = set()
    for path in folder.rglob("*.parquet"):
        with suppress(pa.ArrowInvalid, FileNotFoundError):  # what cannot be read names nothing
            told = (pq.read_schema(path).metadata or {}).get(images.KEPT, b"")
            found.add(told.decode().rpartition("/")[2])
    return found


def clear(days: float, places: Places) -> list[tuple[Path, int]]:
    """Delete it; what went, with its bytes."""
    gone = []
    for path in list(forgotten(days, places)):
        size = bytes_of(path)
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        gone.append((path, size))
    return gone
