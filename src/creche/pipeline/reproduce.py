"""Train a model again from its own data version, and compare the two."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from creche import registry
from creche.data import pixel_store
from creche.data.dvc_fetch import fetch_version
from creche.data.split import holdout_rows
from creche.data.sql_snapshot import is_whole, snapshot_path
from creche.errors import DataError, ModelError, UnreachableError
from creche.model.artifact import UNREGISTERED, Model
from creche.pipeline import run_step
from creche.pipeline.pull import describe, describe_snapshot, pull_references, with_header
from creche.project import (
    ACCEPTED,
    MODEL,
    PREPROCESSOR,
    SOURCE,
    SPLIT,
    WEIGHTS,
    ProjectPaths,
    RunPaths,
    read_record,
    write_record,
)
from creche.provenance import git_commit
from creche.recipe import Recipe, load
from creche.records import REFERENCES_MARK, SourceInfo

# File → the step that writes it, in the order of the steps.
WRITTEN_BY = {
    ACCEPTED: "validate",
    SPLIT: "preprocess",
    PREPROCESSOR: "preprocess",
    WEIGHTS: "train",
    MODEL: "export",
}


@dataclass(frozen=True)
class FileDifference:
    """The first file whose bytes differ."""

    step: str
    file: str
    byte: int  # position of the first one that differs, from 0


@dataclass(frozen=True)
class Agreement:
    """Predictions of both models on the holdout."""

    rows: int
    same_label: int  # rows
    largest_difference: float  # of a probability


@dataclass(frozen=True)
class Reproduction:
    """The comparison of a model with the one that was trained again."""

    model: str  # as in penguins@7
    same: bool  # byte for byte
    digest: str
    new_digest: str
    changed: list[str]  # entries of the provenance: code, libraries, machine
    first_difference: FileDifference | None  # None: same, or the run's files are gone
    agreement: Agreement


def reproduce(reference: str, paths: ProjectPaths, device: str = "auto") -> Reproduction:
    """Train a model again from its own data version, and compare the two.

    Raises:
        ModelError: the recipe on this machine is not the one that trained it.
        DataError: its data version is not available.
    """
    model, version = registry.open_model(reference, paths)
    recipe = load(model.metadata.recipe, paths.root)
    tags: Mapping[str, str] = {}
    if version != UNREGISTERED:
        tags = registry.version_tags(recipe.name, version, paths) or {}
    provenance = model.metadata.provenance
    _check_recipe(reference, recipe, provenance.recipe_digest, tags, paths)
    with tempfile.TemporaryDirectory() as name:
        folder = paths.at(Path(name))
        _pull_version(recipe, provenance.data_version, folder)
        for step in ("validate", "preprocess", "train", "export"):
            options: dict[str, Any] = {"device": device} if step == "train" else {}
            if step == "validate":
                # How old the data are by now does not count.
                options = {"judge_table": False}
            run_step(step, recipe, folder, **options)
        new_model = Model(folder / MODEL)
        new_provenance = new_model.metadata.provenance
        same = new_model.digest == model.digest
        return Reproduction(
            model=f"{recipe.name}@{version}",
            same=same,
            digest=model.digest,
            new_digest=new_model.digest,
            changed=_changed_keys(provenance.to_dict(), new_provenance.to_dict()),
            first_difference=None if same else _first_difference(tags, folder),
            agreement=_agreement(model, new_model, folder),
        )


def _check_recipe(
    reference: str, recipe: Recipe, digest: str, tags: Mapping[str, str], paths: ProjectPaths
) -> None:
    if recipe.digest == digest:
        return
    commit = tags.get("git_commit", "not on record")
    raise ModelError(
        f"recipe {recipe.name} on this machine is not the one that trained {reference} "
        f"(digest {recipe.digest[:12]}, not {digest[:12]}): "
        f"check out its commit ({commit}; this is {git_commit(paths.root)})"
    )


def _changed_keys(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    # The fingerprint is made of the others.
    return [key for key in old if old[key] != new.get(key) and key != "fingerprint"]


def _pull_version(recipe: Recipe, version: str, folder: RunPaths) -> None:
    """Pull a version of the recipe's data.

    Where the source has another version by now, this one is fetched from DVC's cache or remote.
    """
    data_version, _, _ = version.partition(REFERENCES_MARK)
    current = None
    pull_error = ""
    try:
        run_step("pull", recipe, folder)
        current = read_record(folder / SOURCE, SourceInfo).version
    except (DataError, UnreachableError) as error:
        pull_error = f"; and {error}"
    if current == data_version:
        _check_references(version, folder)
        return
    if recipe.data.sql is not None:
        _take_snapshot_of(version, recipe, folder, pull_error)
        return
    suffix = Path(recipe.data.path or recipe.data.url or "").suffix
    try:
        fetched = fetch_version(data_version, folder / f"data{suffix}", folder.root)
        references = pull_references(recipe, folder)
        source = describe(fetched, folder).model_copy(update={"references": references})
        write_record(folder / SOURCE, with_header(source, recipe, folder))
    except (DataError, UnreachableError) as error:
        raise type(error)(f"{error}{pull_error}") from None
    _check_references(version, folder)


def _check_references(version: str, folder: RunPaths) -> None:
    """Check that the reference tables are those of a version.

    Raises:
        DataError: they are not.
    """
    source = read_record(folder / SOURCE, SourceInfo)
    if source.data_version != version:
        raise DataError(
            f"the reference tables ({', '.join(source.references) or 'none'}) are not those of the "
            "model: check out the commit that it was trained with"
        )


def _take_snapshot_of(version: str, recipe: Recipe, folder: RunPaths, pull_error: str) -> None:
    path = snapshot_path(version, folder)
    if not is_whole(path, version):
        raise DataError(
            f"the rows of data version {version} are not there any more: the database gives others "
            f"now, and {path} is missing or damaged; copy it from the machine that trained"
            f"{pull_error}"
        )
    source = describe_snapshot(path, version, folder)
    write_record(folder / SOURCE, with_header(source, recipe, folder))


def _first_difference(tags: Mapping[str, str], folder: RunPaths) -> FileDifference | None:
    """Return the first file, in the order of the steps, that differs from the run's own."""
    with tempfile.TemporaryDirectory() as name:
        recorded = Path(name)
        run_id = tags.get(registry.RUN_ID_TAG)
        if run_id is not None:
            recorded = folder.run(run_id).folder
        mlflow_run_id = tags.get(registry.MLFLOW_RUN_ID_TAG)
        if mlflow_run_id is not None and not recorded.is_dir():
            recorded = registry.download_run_files(mlflow_run_id, Path(name), folder)
        for file, step in WRITTEN_BY.items():
            if not (recorded / file).is_file():
                continue
            old_content = (recorded / file).read_bytes()
            new_content = (folder / file).read_bytes()
            if old_content != new_content:
                position = _first_different_byte(old_content, new_content)
                return FileDifference(step, file, position)
    return None


def _first_different_byte(first: bytes, second: bytes) -> int:
    length = min(len(first), len(second))
    differs = np.frombuffer(first[:length], np.uint8) != np.frombuffer(second[:length], np.uint8)
    return int(differs.argmax()) if differs.any() else length


def _agreement(old_model: Model, new_model: Model, folder: RunPaths) -> Agreement:
    table = pixel_store.read_table(folder / SPLIT, folder)
    holdout = holdout_rows(table)
    old = old_model.predict(pixel_store.model_arrays(holdout, old_model.contract))
    new = new_model.predict(pixel_store.model_arrays(holdout, new_model.contract))
    # The probabilities of a row with an unseen category are NaN in both.
    difference = np.nan_to_num(np.abs(old.probabilities - new.probabilities))
    return Agreement(
        rows=holdout.num_rows,
        same_label=int((old.labels == new.labels).sum()),
        largest_difference=float(difference.max()),
    )
