"""The record, kept in MLflow: runs with live figures, model versions, and the alias `champion`.

Reading who reigns must cost milliseconds and no import of mlflow, for that is what every `predict` does first: on
the embedded store the alias is read straight from MLflow's own SQLite tables, and a test holds that reader to
MLflow's client. Model files are kept once more under `models/`, named by their SHA-256, so that a champion once
fetched is there when the store is not; the digest is checked whenever one is loaded.
"""

import json
import os
import platform
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from creche.errors import ModelError, RegistryError, StoreError
from creche.model.artifact import Model
from creche.project import TMP, ProjectPaths, atomic_write, recipe_name
from creche.provenance import sha256_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIAS = "champion"
MODEL_NAME, GROUPS_NAME = "model.onnx", "groups.json"
LOCK_SECONDS = 60  # that a writer waits for another one on the embedded store
HOLDOUT_FIGURES = (
    "accuracy",
    "accuracy_low",
    "accuracy_high",
    "log_loss",
)  # `holdout_…`: training has an accuracy too
FLUSH_SECONDS = 1.0  # live figures reach the store at least this often


@dataclass(frozen=True)
class Version:
    """A registered model, and its file here."""

    recipe: str
    version: str
    digest: str
    path: Path
    tags: Mapping[str, str]
    split: str = ""  # digest of the rule that placed its rows
    trained_on: tuple[int, ...] = ()  # group hashes of its training and validation sides


def store(paths: ProjectPaths) -> str:
    """Where MLflow keeps its tables: `MLFLOW_TRACKING_URI`, else a SQLite file in the project's home."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.home / 'mlflow.db'}"


def cached(digest: str, paths: ProjectPaths) -> Path:
    return paths.home / "models" / f"{digest}.onnx"


def champion(recipe: str, paths: ProjectPaths, which: str = ALIAS) -> Version | None:
    """The reigning champion, or another version, with the groups it was trained on; None where there is none."""
    found = resolve(recipe, paths, which)
    return with_groups(found, paths) if found else None


def with_groups(found: Version, paths: ProjectPaths) -> Version:
    """The version with the groups it was trained on.

    Raises:
        RegistryError: they are not on record.
    """
    hashes, stated = found.path.with_suffix(".groups.json"), found.tags.get("groups_digest")
    if not hashes.is_file() or (stated and sha256_of(hashes) != stated):
        _download(found, GROUPS_NAME, hashes, paths)
    try:
        record = json.loads(hashes.read_text())
        if stated and sha256_of(hashes) != stated:
            raise ValueError("its SHA-256 is not the registered one")
        return replace(found, split=record["split"], trained_on=tuple(record["groups"]))
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryError(
            f"what version {found.version} of {found.recipe} was trained on cannot be read: {error}"
        ) from None


def resolve(recipe: str, paths: ProjectPaths, which: str = ALIAS) -> Version | None:
    """The version that an alias or a number names, its file fetched where it is not here yet; None: there is none.

    Raises:
        RegistryError: the store cannot be read, or the version has no digest or no file.
    """
    embedded = store(paths).removeprefix("sqlite:///")
    found = (
        _from_client(recipe, paths, which)
        if embedded == store(paths)
        else _from_sqlite(recipe, Path(embedded), which)
    )
    if found is None:
        return None
    number, tags = found
    if not tags and which == ALIAS:
        raise RegistryError(
            f"the champion of {recipe} is version {number}, which is gone: creche rollback {recipe} --reason …"
        )
    if "digest" not in tags:
        raise RegistryError(
            f"{recipe} version {number} has no digest: it was not registered by creche"
        )
    version = Version(recipe, number, tags["digest"], cached(tags["digest"], paths), tags)
    if not version.path.is_file() or sha256_of(version.path) != version.digest:
        _download(version, MODEL_NAME, version.path, paths)
    return version


def open_model(reference: str, paths: ProjectPaths) -> tuple[Model, str]:
    """The model that `penguins`, `penguins@champion`, `penguins@7` or a path to a file names, and its version.

    The version of a file is `file`: nobody registered it, as far as this word tells.

    Raises:
        ModelError: there is none.
    """
    if reference.endswith(".onnx"):
        return Model(Path(reference)), "file"
    found = named(reference, paths)
    return Model(found.path, found.digest, verdict_id=found.tags.get("verdict_id")), found.version


def named(reference: str, paths: ProjectPaths) -> Version:
    """The registered version that `penguins`, `penguins@champion` or `penguins@7` names.

    Raises:
        ModelError: there is none.
    """
    name, _, which = reference.partition("@")
    name, which = recipe_name(name), which or ALIAS
    found = resolve(name, paths, which)
    if found is None:
        raise ModelError(
            f"{name} has no {which if which == ALIAS else f'version {which}'}: `creche retrain {name}`"
        )
    return found


def _from_sqlite(recipe: str, path: Path, which: str) -> tuple[str, dict[str, str]] | None:
    if not path.is_file() or not path.stat().st_size:
        return None
    alias = "SELECT version FROM registered_model_aliases WHERE name = ? AND alias = ?"
    number = "SELECT version FROM model_versions WHERE name = ? AND version = ? AND current_stage != 'Deleted_Internal'"
    try:
        # not `ro`: what a killed writer left half-done has to be rolled back before anything can be read
        with closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=30)
        ) as tables:
            if not tables.execute(
                "SELECT 1 FROM sqlite_master WHERE name = 'model_version_tags'"
            ).fetchone():
                return None  # a store whose tables are yet to be made
            row = tables.execute(number if which.isdigit() else alias, (recipe, which)).fetchone()
            if row is None:
                return None
            tags = tables.execute(
                "SELECT key, value FROM model_version_tags WHERE name = ? AND version = ?",
                (recipe, *row),
            )
            return str(row[0]), dict(tags.fetchall())
    except sqlite3.Error as error:
        raise RegistryError(f"{path} cannot be read as MLflow's store: {error}") from None


def _from_client(recipe: str, paths: ProjectPaths, which: str) -> tuple[str, dict[str, str]] | None:
    from mlflow.exceptions import MlflowException

    asked = client(paths)
    try:
        version = (
            asked.get_model_version(recipe, which)
            if which.isdigit()
            else asked.get_model_version_by_alias(recipe, which)
        )
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise RegistryError(f"{store(paths)}: {error.message}") from None
    return str(version.version), dict(version.tags)


def _download(found: Version, name: str, to: Path, paths: ProjectPaths) -> None:
    from mlflow.exceptions import MlflowException

    try:
        with atomic_write(to) as part:
            shutil.copyfile(
                client(paths).download_artifacts(found.tags["run_id"], f"model/{name}"), part
            )
            if name == MODEL_NAME and sha256_of(part) != found.digest:
                raise OSError(
                    f"its SHA-256 is {sha256_of(part)}, not the registered {found.digest}"
                )
    except (KeyError, OSError, MlflowException) as error:
        raise RegistryError(
            f"{found.recipe} version {found.version}: its {name} cannot be had from the store ({error}): "
            f"creche retrain {found.recipe} --force makes another, creche promote or rollback crowns one"
        ) from None


def client(paths: ProjectPaths) -> "MlflowClient":
    """MLflow's own client on the store."""
    _hush()
    try:
        paths.home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RegistryError(
            f"{paths.home} cannot be the home of what runs leave: {error.strerror}"
        ) from None
    _from_sqlite(
        "", Path(store(paths).removeprefix("sqlite:///")), ALIAS
    )  # a file that is no store is said in one line
    from mlflow import MlflowClient

    where = store(paths)
    tables = Path(where.removeprefix("sqlite:///"))
    if (
        where.startswith("sqlite:///")
        and not tables.exists()
        and any((paths.home / "models").glob("*.onnx"))
    ):
        raise RegistryError(
            f"{tables} is gone, though models were registered in it: bring it back, or take {paths.home} away too"
        )
    if where.startswith("sqlite:") and "?" not in where:
        where += f"?timeout={LOCK_SECONDS}"
    return MlflowClient(tracking_uri=where, registry_uri=where)


def _hush() -> None:
    """What MLflow reads when it is imported."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


@contextmanager
def store_errors(paths: ProjectPaths) -> Iterator["MlflowClient"]:
    """MLflow's client; what goes wrong with the store is said in one sentence.

    Raises:
        StoreError: the store is locked, read-only, or away for longer than is waited for.
    """
    _hush()
    from mlflow.exceptions import MlflowException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield client(paths)
    except (MlflowException, SQLAlchemyError, OSError) as error:
        said = " ".join(str(error).split())
        if getattr(error, "error_code", "") in (
            "RESOURCE_DOES_NOT_EXIST",
            "INVALID_PARAMETER_VALUE",
        ):
            raise RegistryError(f"{store(paths)} says: {said[:200]}") from None
        raise StoreError(
            f"{store(paths)} cannot be used ({said[:200]}): nothing was changed by halves; try again"
        ) from None


def store_exists(paths: ProjectPaths) -> bool:
    """Whether there is a store to ask: where none was ever made, asking would make one."""
    return (
        not store(paths).startswith("sqlite:///")
        or Path(store(paths).removeprefix("sqlite:///")).is_file()
    )


def alias(recipe: str, paths: ProjectPaths) -> str | None:
    """The version that the alias names; None where none reigns."""
    _hush()
    from mlflow.exceptions import MlflowException

    with store_errors(paths) as ask:
        try:
            found = ask.get_registered_model(recipe).aliases.get(ALIAS)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return None if found is None else str(found)


def set_alias(recipe: str, version: str, paths: ProjectPaths) -> None:
    """Move the alias: one atomic change, after which every reader gets the new champion whole."""
    with store_errors(paths) as ask:
        ask.set_registered_model_alias(recipe, ALIAS, version)


def mark(name: str, version: int | str, key: str, value: str, paths: ProjectPaths) -> None:
    """Tag a version."""
    with store_errors(paths) as ask:
        ask.set_model_version_tag(name, str(version), key, value)


def tags_of(recipe: str, version: str, paths: ProjectPaths) -> Mapping[str, str] | None:
    """What a version says of itself; None where there is none."""
    with store_errors(paths) as ask:
        found = (v for v in all_versions(ask, recipe) if str(v.version) == version)
        return next((dict(v.tags) for v in found), None)


def all_versions(ask: "MlflowClient", name: str | None = None) -> list[Any]:
    """All versions of a registered model, or of every one, as MLflow gives them; none where there is no such model."""
    found, token = [], None
    while True:
        page = ask.search_model_versions(
            f"name = '{name}'" if name else None, max_results=1000, page_token=token
        )
        found += page
        token = page.token
        if not token:
            return found


def add_version(
    name: str, source: str, tags: Mapping[str, str], paths: ProjectPaths, run_id: str | None = None
) -> int:
    """A new version of a registered model, which is made where it is not there yet; its number."""
    _hush()
    from mlflow.exceptions import MlflowException

    with store_errors(paths) as ask:
        try:
            ask.create_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return int(ask.create_model_version(name, source, run_id, tags=dict(tags)).version)


class TrackedRun:
    """One production run in MLflow: parameters, live figures, files, and a final status."""

    def __init__(self, recipe: str, identity: str, experiment: str, paths: ProjectPaths) -> None:
        self.recipe, self.id, self.paths, self.client = recipe, identity, paths, client(paths)
        self.experiment = experiment
        self._waiting: list[Any] = []
        self._flushed = 0.0

    @classmethod
    def begin(
        cls,
        recipe: str,
        name: str,
        params: Mapping[str, Any],
        tags: Mapping[str, str],
        paths: ProjectPaths,
    ) -> "TrackedRun":
        """A new run in the recipe's experiment."""
        ask = client(paths)
        experiment = ask.get_experiment_by_name(recipe)
        if experiment is None:
            local = (
                (paths.home / "artifacts" / recipe).as_uri()
                if store(paths).startswith("sqlite")
                else None
            )
            within = ask.create_experiment(recipe, artifact_location=local)
        else:
            within = experiment.experiment_id
        own = {
            "process": f"{platform.node()}:{os.getpid()}"
        }  # tells later whether it can still be under way
        run = cls(
            recipe,
            ask.create_run(within, run_name=name, tags={**tags, **own}).info.run_id,
            within,
            paths,
        )
        for key, value in params.items():
            run.client.log_param(run.id, key, value)
        return run

    @classmethod
    def join(cls, recipe: str, identity: str, paths: ProjectPaths) -> "TrackedRun":
        """A run that another process has begun.

        Raises:
            RegistryError: it is not in the store that this process uses.
        """
        from mlflow.exceptions import MlflowException

        try:
            return cls(recipe, identity, client(paths).get_run(identity).info.experiment_id, paths)
        except MlflowException:
            raise RegistryError(
                f"run {identity} is not in {store(paths)}, the store of this machine: set MLFLOW_TRACKING_URI to the same "
                "server on every machine"
            ) from None

    def log(self, figures: Mapping[str, float], step: int = 0) -> None:
        """Note figures, in the store within a second of the next call and at the latest at `finish`."""
        from mlflow.entities import Metric

        now = time.time()
        self._waiting += [Metric(k, float(v), int(now * 1000), step) for k, v in figures.items()]
        if now - self._flushed >= FLUSH_SECONDS:
            self._flush()

    def _flush(self) -> None:
        for start in range(0, len(self._waiting), 1000):  # MLflow's limit a call
            self.client.log_batch(self.id, metrics=self._waiting[start : start + 1000])
        self._waiting, self._flushed = [], time.time()

    def keep(self, folder: Path) -> None:
        """Store all files of a folder under `run/`."""
        self.client.log_artifacts(self.id, str(folder), "run")

    def hand_over(self, files: Iterable[Path]) -> None:
        """Store files of a training for the process that began the run."""
        for file in files:
            self.client.log_artifact(self.id, str(file), "training")

    def take_over(self, names: Iterable[str], folder: Path) -> None:
        """Fetch such files into a folder."""
        for name in names:
            with atomic_write(folder / name) as part:
                shutil.copyfile(self.client.download_artifacts(self.id, f"training/{name}"), part)

    def keep_verdict(self, verdict: Mapping[str, Any]) -> None:
        """Store a verdict under its id, which is a digest of what it says: before anything changes because of it."""
        self.client.log_dict(self.id, dict(verdict), f"verdicts/{verdict['id']}.json")

    def tag(self, key: str, value: str) -> None:
        self.client.set_tag(self.id, key, value)

    def finish(self, status: str) -> None:
        """`FINISHED`, `FAILED` or `KILLED`."""
        self._flush()
        self.client.set_terminated(self.id, status)


def last_verdict(recipe: str, paths: ProjectPaths) -> Mapping[str, str] | None:
    """Tags of the latest run that finished with a verdict: a failed or killed run never counts."""
    runs = _judged(client(paths), recipe, 1)
    return {**runs[0].data.tags, "run_id": runs[0].info.run_id} if runs else None


def _judged(ask: "MlflowClient", recipe: str, limit: int) -> list[Any]:
    experiment = ask.get_experiment_by_name(recipe)
    wanted = "attributes.status = 'FINISHED' and tags.verdict != ''"
    return (
        list(ask.search_runs([experiment.experiment_id], wanted, max_results=limit))
        if experiment
        else []
    )


def verdicts(recipe: str, paths: ProjectPaths, limit: int = 1000) -> list[dict[str, Any]]:
    """The latest runs that finished with a verdict, latest first: when, on what data, how accurate, and as which version."""
    with store_errors(paths) as ask:
        versions = {v.run_id: int(v.version) for v in all_versions(ask, recipe)}
        return [
            {
                "time": datetime.fromtimestamp(run.info.end_time / 1000, UTC),
                **{k: run.data.tags.get(k, "") for k in ("run", "data_version", "verdict")},
                **{k: run.data.metrics[f"holdout_{k}"] for k in HOLDOUT_FIGURES},
                "version": versions.get(run.info.run_id),
            }
            for run in _judged(ask, recipe, limit)
            if "holdout_accuracy" in run.data.metrics
        ]


@dataclass(frozen=True)
class UnfinishedRun:
    """A run that the store takes to be under way."""

    recipe: str
    id: str
    name: str
    started: float  # s since the epoch
    tags: Mapping[str, str]

    def kill(self, paths: ProjectPaths) -> None:
        """Put on record that it is not."""
        with store_errors(paths) as ask:
            ask.set_terminated(self.id, "KILLED")


def unfinished(paths: ProjectPaths) -> list[UnfinishedRun]:
    """The runs of every recipe that have no end on record."""
    with store_errors(paths) as ask:
        recipes = {e.experiment_id: e.name for e in ask.search_experiments()}
        return [
            UnfinishedRun(
                recipes[r.info.experiment_id],
                r.info.run_id,
                r.info.run_name,
                r.info.start_time / 1000,
                dict(r.data.tags),
            )
            for r in ask.search_runs(list(recipes), "attributes.status = 'RUNNING'")
        ]


def run_files(run_id: str, to: Path, paths: ProjectPaths) -> Path:
    """The files that a run left, downloaded from the store."""
    with store_errors(paths) as ask:
        return Path(ask.download_artifacts(run_id, "run", str(to)))


def remove(version: Version, paths: ProjectPaths) -> None:
    """Take a version out of the registry, then its files out of the store and from here; its run's figures stay."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with store_errors(paths) as ask:
        where = ask.get_run(version.tags["run_id"]).info.artifact_uri
        ask.delete_model_version(version.recipe, version.version)
        shared = any(
            v.tags.get("digest") == version.digest for v in all_versions(ask, version.recipe)
        )
        get_artifact_repository(where).delete_artifacts("model")
    if not shared:
        version.path.unlink(missing_ok=True)
        version.path.with_suffix(".groups.json").unlink(missing_ok=True)


def register(
    model: Path,
    digest: str,
    trained_on: Mapping[str, Any],
    tags: Mapping[str, str],
    run: "TrackedRun",
) -> str:
    """Store a judged model file under its run, and make it a version of the recipe's model; return the version.

    The folder is an MLflow model of flavour onnx whose file is ours byte for byte.
    """
    folder = run.paths.home / TMP / run.id
    try:
        _mlflow_model(model, folder)
        (folder / GROUPS_NAME).write_text(json.dumps(trained_on))
        run.client.log_artifacts(run.id, str(folder), "model")
        kept = cached(digest, run.paths)
        for name, path in ((GROUPS_NAME, kept.with_suffix(".groups.json")), (MODEL_NAME, kept)):
            with atomic_write(path) as part:
                shutil.copyfile(folder / name, part)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    earlier = run.client.search_model_versions(f"run_id = '{run.id}'")
    if earlier:  # a retry of what had gone through
        return str(earlier[0].version)
    source = f"{run.client.get_run(run.id).info.artifact_uri}/model"
    known = {
        "digest": digest,
        "run_id": run.id,
        "groups_digest": sha256_of(kept.with_suffix(".groups.json")),
    }
    return str(add_version(run.recipe, source, {**tags, **known}, run.paths, run.id))


def _mlflow_model(model: Path, folder: Path) -> None:
    import mlflow.onnx
    import numpy as np
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec
    from mlflow.types.schema import Array

    kinds = {
        "number": np.dtype(np.float32),
        "category": np.dtype(np.str_),
        "text": np.dtype(np.str_),
    }
    columns = Model(model).contract.columns
    inputs = Schema(
        [
            TensorSpec(np.dtype(np.uint8), (-1, *c.shape), n)
            if c.kind == "image"
            else TensorSpec(kinds[c.kind], (-1, 1), n)
            for n, c in columns.items()
        ]
    )
    outputs = Schema(  # columns, not tensors: of a tensor, spark_udf takes each cell for an array
        [
            ColSpec(DataType.string, "label"),
            ColSpec(Array(DataType.float), "probabilities"),
            ColSpec(DataType.float, "ood_score"),
            ColSpec(Array(DataType.boolean), "prediction_set"),
        ]
    )
    requirements = ["mlflow", "numpy", "onnx", "onnxruntime"]
    mlflow.onnx.save_model(
        onnx.load(model),
        str(folder),
        signature=ModelSignature(inputs, outputs),
        pip_requirements=requirements,
    )
    shutil.copyfile(model, folder / MODEL_NAME)
