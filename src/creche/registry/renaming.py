"""Rename a recipe in the store, so that its versions, champion and promotion log stay with it."""

from typing import TYPE_CHECKING

from creche.errors import RegistryError
from creche.project import ProjectPaths, recipe_names
from creche.registry import promotion_log
from creche.registry.client import mlflow_client
from creche.registry.manual_promotion import user_name
from creche.registry.promotion_log import PromotionEntry, log_name
from creche.registry.store import store_location
from creche.registry.unfinished import unfinished_runs
from creche.registry.versions import champion_version, list_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient


def rename(old: str, new: str, paths: ProjectPaths) -> None:
    """Rename a recipe's model, its promotion log and its experiment in MLflow.

    A rename that was interrupted is completed by the same call again. The promotion log gets an
    entry that states the earlier name.

    Raises:
        RegistryError: the store has nothing under the old name, something under the new one, or a
            run of the recipe is in progress.
    """
    _check_not_running(old, paths)
    with mlflow_client(paths) as client:
        if not _is_renamed(old, new, client, paths):
            _check_names(old, new, client, paths)
            _rename_in_store(old, new, client, paths)
    _log_rename(old, new, paths)


def _rename_in_store(old: str, new: str, client: "MlflowClient", paths: ProjectPaths) -> None:
    # The log comes first: where this is interrupted, a model without a log keeps its champion.
    for old_name, new_name in ((log_name(old), log_name(new)), (old, new)):
        if list_versions(paths, old_name):
            client.rename_registered_model(old_name, new_name)
    experiment = client.get_experiment_by_name(old)
    if experiment is not None:
        client.rename_experiment(experiment.experiment_id, new)


def _log_rename(old: str, new: str, paths: ProjectPaths) -> None:
    """Add the entry that states the earlier name, unless an interrupted rename has added it."""
    champion = champion_version(new, paths)
    last = promotion_log.head(promotion_log.entries(new, paths))
    if last is not None and _states_rename(last, old):
        promotion_log.reconcile(new, paths)
    elif champion is not None:
        promotion_log.set_champion(new, champion, paths, "rename", _rename_reason(old), user_name())


def _is_renamed(old: str, new: str, client: "MlflowClient", paths: ProjectPaths) -> bool:
    """Return whether the store has everything of the old name under the new one, because a rename
    was interrupted after that.
    """
    if list_versions(paths, old) or client.get_experiment_by_name(old) is not None:
        return False
    last = promotion_log.head(promotion_log.entries(new, paths))
    if last is None:
        return False
    # The source of an entry has the name that the model had when the entry was made.
    stored = client.get_model_version(log_name(new), str(last.number))
    is_of_old_name = str(stored.source).startswith(f"models:/{old}/")
    return is_of_old_name or _states_rename(last, old)


def _states_rename(entry: PromotionEntry, old: str) -> bool:
    return entry.kind == "rename" and entry.reason == _rename_reason(old)


def _rename_reason(old: str) -> str:
    return f"the recipe was named {old} before"


def _check_not_running(old: str, paths: ProjectPaths) -> None:
    running = [run.name for run in unfinished_runs(paths) if run.recipe == old]
    if running:
        raise RegistryError(
            f"run {running[0]} of {old} is in progress: wait for its end, or run "
            "`creche doctor --fix` where its process is gone"
        )


def _check_names(old: str, new: str, client: "MlflowClient", paths: ProjectPaths) -> None:
    """Check that the store has a model or an experiment of the old name, and neither twice."""
    has_model = bool(list_versions(paths, old))
    has_experiment = client.get_experiment_by_name(old) is not None
    if not has_model and not has_experiment:
        raise RegistryError(f"the store has no model named {old}: state the recipe's earlier name")
    is_model_taken = has_model and bool(list_versions(paths, new))
    is_experiment_taken = has_experiment and client.get_experiment_by_name(new) is not None
    if is_model_taken or is_experiment_taken:
        kind = "a model" if is_model_taken else "an experiment"
        raise RegistryError(
            f"the store has {kind} named {new} already, beside that of {old}: choose another name"
        )


def champions_without_recipe(paths: ProjectPaths) -> list[str]:
    """Return the names of models that creche promoted and that have no recipe in `recipes/`.

    A server may hold the models of other projects, so that nothing can be said of its models.
    """
    location = store_location(paths)
    if location.sqlite_file is None or not location.exists():
        return []
    recipes = recipe_names(paths.root)
    models = {stored.name for stored in list_versions(paths)}
    names = []
    for name in sorted(models):
        # Only what creche promoted has a log.
        is_lost = name not in recipes and log_name(name) in models
        if is_lost and champion_version(name, paths) is not None:
            names.append(name)
    return names


def rename_advice(new: str, paths: ProjectPaths) -> str | None:
    """Return the advice to rename, where a recipe without a model may be an earlier one under
    another name; None otherwise.
    """
    if list_versions(paths, new):
        return None
    names = champions_without_recipe(paths)
    if not names:
        return None
    return (
        f"{new} has no model yet, and {names[0]} has a champion and no recipe: where {new} is its "
        f"new name, run `creche rename {names[0]} {new}`, which keeps the champion"
    )
