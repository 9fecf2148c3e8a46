"""Registered model versions and their files.

Model files are cached under `models/` in the home, named by their SHA-256, so that a champion that
was fetched once can be loaded while the store is away. Its digest is checked at every load.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creche.errors import ModelError, RegistryError
from creche.model.artifact import UNREGISTERED, Model
from creche.project import TMP, ProjectPaths, atomic_write, is_recipe_name, recipe_name
from creche.provenance import sha256_of
from creche.registry.artifact_locations import ensure_artifacts_are_here
from creche.registry.client import mlflow_client
from creche.registry.reader import CHAMPION, MLFLOW_RUN_ID_TAG, StoredVersion, store_reader

if TYPE_CHECKING:
    from creche.registry.tracked_runs import TrackedRun

MODEL_FILE = "model.onnx"
GROUPS_FILE = "groups.json"


@dataclass(frozen=True)
class ModelVersion:
    """A registered model version, with its file on this machine."""

    recipe: str
    version: str
    digest: str  # SHA-256 of the file
    path: Path
    tags: Mapping[str, str]
    split: str = ""  # digest of the rule that split its rows; empty: not read, or not on record
    trained_on: tuple[int, ...] = ()  # group hashes of its training and validation rows
    row_key_format: int = 1  # of the keys that the hashes are of

    @property
    def groups_path(self) -> Path:
        """The file on this machine that holds `split` and `trained_on`."""
        return self.path.with_suffix(".groups.json")


def cached_model_path(digest: str, paths: ProjectPaths) -> Path:
    """Return where the file of a registered model is cached on this machine."""
    return paths.home / "models" / f"{digest}.onnx"


def champion_version(recipe: str, paths: ProjectPaths) -> str | None:
    """Return the number of the version that is champion, by the alias; None: no champion yet.

    Raises:
        RegistryError: no recipe can have that name.
    """
    _check_name(recipe)
    return store_reader(paths).champion_version(recipe)


def champion(recipe: str, paths: ProjectPaths) -> ModelVersion | None:
    """Return the current champion with the groups that it was trained on, None without champion.

    Raises:
        RegistryError: it was deleted, or its file or its groups cannot be fetched.
    """
    version = _champion_without_groups(recipe, paths)
    return None if version is None else with_trained_groups(version, paths)


def _champion_without_groups(recipe: str, paths: ProjectPaths) -> ModelVersion | None:
    # The alias is read once: the version that it names stays the same to the end.
    number = champion_version(recipe, paths)
    if number is None:
        return None
    version = registered_version(recipe, number, paths)
    if version is None:
        raise RegistryError(
            f"the champion of {recipe}, version {number}, was deleted: run "
            f"`creche rollback {recipe} --reason …`"
        )
    return version


def registered_version(recipe: str, number: str, paths: ProjectPaths) -> ModelVersion | None:
    """Return a version, its file fetched if needed; None: there is no such version.

    Raises:
        RegistryError: the store cannot be read, or the version has no digest or no file.
    """
    tags = version_tags(recipe, number, paths)
    if tags is None:
        return None
    if "digest" not in tags:
        raise RegistryError(
            f"{recipe} version {number} has no digest, so it was not registered by creche: "
            "name a version that was"
        )
    path = cached_model_path(tags["digest"], paths)
    version = ModelVersion(recipe, number, tags["digest"], path, tags)
    if not path.is_file() or sha256_of(path) != version.digest:
        _download(version, MODEL_FILE, path, paths)
    return version


def find_version(reference: str, paths: ProjectPaths) -> ModelVersion:
    """Return the version that `penguins`, `penguins@champion` or `penguins@7` names.

    Raises:
        ModelError: the recipe has no such version.
    """
    name, _, number = reference.partition("@")
    recipe = recipe_name(name)
    if number in ("", CHAMPION):
        version = _champion_without_groups(recipe, paths)
        missing = CHAMPION
    else:
        version = registered_version(recipe, number, paths)
        missing = f"version {number}"
    if version is None:
        raise ModelError(f"{recipe} has no {missing}: run `creche retrain {recipe}`")
    return version


def open_model(reference: str, paths: ProjectPaths) -> tuple[Model, str]:
    """Open the model that `penguins`, `penguins@champion`, `penguins@7` or a path to a file names.

    Returns:
        The model, and its version: `file` for a path.

    Raises:
        ModelError: the recipe has no such version, or the file is no model.
    """
    if reference.endswith(".onnx"):
        return Model(Path(reference)), UNREGISTERED
    version = find_version(reference, paths)
    model = Model(version.path, version.digest, verdict_id=version.tags.get("verdict_id"))
    return model, version.version


def with_trained_groups(version: ModelVersion, paths: ProjectPaths) -> ModelVersion:
    """Return the version with the groups that it was trained on.

    Raises:
        RegistryError: they are not on record.
    """
    path = version.groups_path
    digest = version.tags.get("groups_digest")
    if not path.is_file() or (digest and sha256_of(path) != digest):
        _download(version, GROUPS_FILE, path, paths)
    try:
        groups = json.loads(path.read_text())
        if digest and sha256_of(path) != digest:
            raise ValueError("its SHA-256 is not the registered one")
        return replace(
            version,
            split=groups["split"],
            trained_on=tuple(groups["groups"]),
            # The first format was not stated.
            row_key_format=groups.get("row_key_format", 1),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(
            f"what version {version.version} of {version.recipe} was trained on cannot be read: "
            f"{error}; run `creche retrain {version.recipe} --force` to train another"
        ) from None


def list_versions(paths: ProjectPaths, name: str | None = None) -> list[StoredVersion]:
    """Return all versions of a registered model, or of every one, by name and number.

    Raises:
        RegistryError: no model can have that name.
    """
    if name is not None:
        _check_name(name)
    return store_reader(paths).versions(name)


def version_tags(recipe: str, number: str, paths: ProjectPaths) -> Mapping[str, str] | None:
    """Return the tags of a version; None: there is no such version.

    Raises:
        RegistryError: no recipe can have that name.
    """
    _check_name(recipe)
    return store_reader(paths).version_tags(recipe, number)


def version_of_digest(digest: str, paths: ProjectPaths) -> ModelVersion | None:
    """Return the version, of whatever recipe, whose file has a digest; None: there is none."""
    for stored in list_versions(paths):
        if stored.tags.get("digest") == digest:
            return registered_version(stored.name, str(stored.version), paths)
    return None


def _check_name(name: str) -> None:
    """Check a name before it becomes a part of a filter, where a quote would end it.

    Raises:
        RegistryError: no recipe can have it.
    """
    if not is_recipe_name(name):
        raise RegistryError(
            f"'{name}' is no name of a recipe: name one with letters, digits, spaces and . _ + - "
            "alone"
        )


def set_champion_alias(recipe: str, version: str, paths: ProjectPaths) -> None:
    """Move the alias `champion` in one atomic change."""
    with mlflow_client(paths) as client:
        client.set_registered_model_alias(recipe, CHAMPION, version)


def tag_version(name: str, version: int | str, key: str, value: str, paths: ProjectPaths) -> None:
    """Set a tag of a version."""
    with mlflow_client(paths) as client:
        client.set_model_version_tag(name, str(version), key, value)


def create_version(
    name: str,
    source: str,
    tags: Mapping[str, str],
    paths: ProjectPaths,
    mlflow_run_id: str | None = None,
) -> int:
    """Create a version, and its registered model where that is missing; return its number."""
    with mlflow_client(paths) as client:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        created = client.create_model_version(name, source, mlflow_run_id, tags=dict(tags))
        return int(created.version)


def register(
    model: Path,
    digest: str,
    split_digest: str,
    trained_groups: list[int],
    tags: Mapping[str, str],
    run: "TrackedRun",
) -> str:
    """Store a judged model file under its run, and register it as a version of the recipe's model.

    The stored folder is an MLflow model of flavor onnx.

    Args:
        trained_groups: sorted group hashes of the training and validation rows.

    Returns:
        The version's number; a retry gets that of the first attempt.
    """
    # The keys are Arrow's business, which reading a version need not import.
    from creche.data.row_keys import ROW_KEY_FORMAT

    groups = {
        "row_key_format": ROW_KEY_FORMAT,
        "split": split_digest,
        "groups": trained_groups,
    }
    groups_digest = _store_files(model, digest, groups, run)
    earlier = run.client.search_model_versions(f"run_id = '{run.mlflow_run_id}'")
    if earlier:
        return str(earlier[0].version)
    source = f"{run.client.get_run(run.mlflow_run_id).info.artifact_uri}/model"
    all_tags = {
        **tags,
        "digest": digest,
        "groups_digest": groups_digest,
        MLFLOW_RUN_ID_TAG: run.mlflow_run_id,
    }
    return str(create_version(run.recipe, source, all_tags, run.paths, run.mlflow_run_id))


def _store_files(model: Path, digest: str, groups: Mapping[str, Any], run: "TrackedRun") -> str:
    """Store the model and its groups under the run, cache both, and return the groups' digest."""
    from creche.registry.mlflow_model import save_mlflow_model

    cache = cached_model_path(digest, run.paths)
    groups_cache = cache.with_suffix(".groups.json")
    folder = run.paths.home / TMP / run.mlflow_run_id
    try:
        save_mlflow_model(model, folder)
        (folder / GROUPS_FILE).write_text(json.dumps(groups))
        run.client.log_artifacts(run.mlflow_run_id, str(folder), "model")
        # In this order, so that the groups of a cached model are always cached too.
        for name, path in ((GROUPS_FILE, groups_cache), (MODEL_FILE, cache)):
            with atomic_write(path) as temporary:
                shutil.copyfile(folder / name, temporary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return sha256_of(groups_cache)


def delete_version(version: ModelVersion, paths: ProjectPaths) -> None:
    """Delete a version, then its files in the store and on this machine; its run's metrics stay."""
    with mlflow_client(paths) as client:
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        artifact_uri = client.get_run(version.tags[MLFLOW_RUN_ID_TAG]).info.artifact_uri
        client.delete_model_version(version.recipe, version.version)
        remaining = list_versions(paths, version.recipe)
        get_artifact_repository(artifact_uri).delete_artifacts("model")
    # Another version may have the same bytes.
    if all(other.tags.get("digest") != version.digest for other in remaining):
        version.path.unlink(missing_ok=True)
        version.groups_path.unlink(missing_ok=True)


def _download(version: ModelVersion, name: str, path: Path, paths: ProjectPaths) -> None:
    """Fetch one file of a version from the store, and check the digest of a model.

    Raises:
        RegistryError: the store has no such file now, or another one.
    """
    recipe = version.recipe
    subject = f"{recipe} version {version.version}: its {name}"
    remedy = (
        f"run `creche retrain {recipe} --force` to train another, or `creche promote` or "
        "`creche rollback` to set another champion"
    )
    mlflow_run_id = version.tags.get(MLFLOW_RUN_ID_TAG)
    if mlflow_run_id is None:
        raise RegistryError(f"{subject} is not on this machine, nor its run on record: {remedy}")
    try:
        ensure_artifacts_are_here(paths)
        with mlflow_client(paths) as client, atomic_write(path) as temporary:
            downloaded = client.download_artifacts(mlflow_run_id, f"model/{name}")
            shutil.copyfile(downloaded, temporary)
            digest = sha256_of(temporary)
            if name == MODEL_FILE and digest != version.digest:
                raise RegistryError(f"its SHA-256 is {digest}, not the registered {version.digest}")
    except RegistryError as error:
        raise RegistryError(
            f"{subject} cannot be fetched from the store ({error}): {remedy}"
        ) from None
