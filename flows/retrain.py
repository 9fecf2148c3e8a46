"""The retrain flow: pull → validate → preprocess → train → export → evaluate → judge → promote, a
task a step.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from tqdm import tqdm

from creche import provenance, registry
from creche.errors import (
    CrecheError,
    DeviceError,
    PoolError,
    QuarantineError,
    StoreError,
    TrainingError,
    UnreachableError,
)
from creche.gate import REJECT
from creche.operations import artifacts, pools
from creche.pipeline import STEPS, run_step
from creche.project import (
    CARD,
    CURVES,
    HISTORY,
    PREPROCESSOR,
    RUN,
    TRAINING_REPORT,
    VALIDATION,
    WEIGHTS,
    ProjectPaths,
    RunPaths,
    atomic_write,
    read_json,
    write_json,
)
from creche.recipe import Recipe, load
from creche.records import EpochMetrics, Record
from creche.registry import promotion_log
from creche.reporting import report

HANDED_OVER = (WEIGHTS, HISTORY, CURVES, TRAINING_REPORT)  # by a training in another pool
NETWORKED = ("pull", "gate", "promote")  # the steps that touch a remote or a store
BACKOFF: list[float] = [2, 10, 30]  # s


def _run(name: str, recipe: Recipe, paths: RunPaths, **options: Any) -> dict[str, Any]:
    return (_train if "away" in options else run_step)(name, recipe, paths, **options)


def _is_transient(_task: Any, _run: Any, state: State[Any]) -> bool:
    """What creche says on purpose will be just as true in ten seconds, unless it says that
    something does not answer.
    """
    try:
        state.result()
    except (UnreachableError, StoreError):
        return True
    except CrecheError:
        return False
    except Exception:
        return True
    return False


TASKS = {
    name: task(
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        retry_condition_fn=_is_transient,
        retries=len(BACKOFF) if name in NETWORKED else 0,
        retry_delay_seconds=BACKOFF,
    )(_run)
    for name in STEPS
}


def _run_name() -> str:
    given = flow_run.parameters
    return (
        f"{Path(given['recipe']).stem} · {given['trigger']} · "
        f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    )


@flow(name="retrain", flow_run_name=_run_name)
def retrain(
    recipe: str,
    data: str | None = None,
    force: bool = False,
    device: str = "auto",
    workers: int | None = None,
    trigger: str = "by hand",
    run: str | None = None,
    pool: str | None = None,
) -> State[Any]:
    """Raise a challenger from the recipe, judge it, and make it champion if the verdict is PROMOTE.

    Args:
        pool: where it trains, in place of the recipe's pool. A run that was started by hand trains
            here unless told so.

    The run's own record is `run.json` in its folder under `CRECHE_HOME`. Final states: Promoted,
    Inconclusive,
    Unchanged (completed); Rejected, Quarantined, Failed (failed).
    """
    project = ProjectPaths.find()
    loaded = load(recipe, project.root)
    paths = project.run(run or ProjectPaths.new_run_id(loaded.name))
    summary: dict[str, Any] = {
        "run": paths.folder.name,
        "recipe": loaded.name,
        "trigger": trigger,
        "seconds": {},
    }
    summary["started"] = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}"
    try:
        state = _raise(
            loaded, paths, summary, data, force, {"device": device, "workers": workers}, pool
        )
    except CrecheError as error:
        name = "Quarantined" if isinstance(error, QuarantineError) else "Failed"
        state = Failed(name=name, message=str(error))
        if "source" not in summary:
            artifacts.label(loaded.name, summary)
        if "validation" not in summary and (paths / VALIDATION).is_file():
            artifacts.show_validation(loaded, read_json(paths / VALIDATION))
    except BaseException as error:
        failed = isinstance(
            error, Exception
        )  # whoever cancels or interrupts it does not wait for a page
        summary |= {
            "state": "Crashed" if failed else "Interrupted",
            "message": f"{type(error).__name__}: {error}",
        }
        write_json(paths / RUN, summary)
        if failed:
            artifacts.show(loaded, paths, summary)
        raise
    summary |= {"state": state.name, "message": state.message}
    write_json(paths / RUN, summary)
    get_run_logger().info("%s: %s", state.name, state.message)
    artifacts.show(loaded, paths, summary)
    artifacts.notify(loaded, summary)
    return state


def _raise(
    recipe: Recipe,
    paths: RunPaths,
    summary: dict[str, Any],
    data: str | None,
    force: bool,
    on: dict[str, Any],
    pool: str | None,
) -> State[Any]:
    step = _stepper(recipe, paths, summary)
    source = step("pull", **({"data": Path(data)} if data else {}))
    artifacts.label(recipe.name, summary)
    fingerprint = provenance.fingerprint(source["version"], recipe.digest)
    if healed := promotion_log.reconcile(recipe.name, paths):
        get_run_logger().warning("%s", healed)
    last = registry.last_verdict(recipe.name, paths)
    if last and last.fingerprint == fingerprint and not force:
        earlier = paths.run(last.run) / RUN
        summary["last"] = read_json(earlier) if earlier.is_file() else {"run": last.run}
        return Completed(
            name="Unchanged",
            message=f"Data, recipe, code and libraries are those of run {last.run} (verdict "
            f"{last.verdict}): "
            "nothing to train; --force trains all the same",
        )
    summary["before"] = last.verdict if last else None
    tags = {
        "run": paths.folder.name,
        "data_version": source["version"],
        "fingerprint": fingerprint,
        "git_commit": provenance.git_commit(paths.root),
        "flow_run": str(flow_run.id),
    }
    record = registry.TrackedRun.start(
        recipe.name, paths.folder.name, recipe.training.model_dump(), tags, paths
    )
    summary["mlflow"] = {"experiment": record.experiment, "run": record.id}
    try:
        summary["validation"] = step("validate")
        artifacts.show_validation(recipe, summary["validation"])
        summary["split"] = step("preprocess")
        with following(record, recipe, summary["split"]) as follow:
            summary["training"] = step(
                "train",
                **on,
                on_progress=follow,
                away=_away(paths.folder.name, recipe, record, source, pool),
            )
        step("export")
        summary["evaluation"] = step("evaluate")
        record.log_metrics(
            {f"holdout_{k}": summary["evaluation"][k] for k in registry.HOLDOUT_METRICS}
        )
        summary["verdict"] = step("gate")
        summary["promotion"] = step("promote", record=record)
    except BaseException as error:
        with suppress(Exception):  # the store may be what went wrong
            record.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    try:
        with atomic_write(paths / CARD) as part:
            part.write_text(
                report.card({**summary, "about": recipe.model_summary()}, paths.folder),
                encoding="utf-8",
            )
        record.log_run_folder(paths.folder)
        record.set_tag("verdict", summary["verdict"]["verdict"])
        record.finish("FINISHED")
    except Exception as error:  # who reigns is settled and on record: what failed is for display
        get_run_logger().warning("the run's files did not reach the store: %s", error)
    return _state(summary["verdict"], summary["promotion"]["is_champion"])


@dataclass(frozen=True)
class Away:
    """Another pool's worker for the train step."""

    pool: str
    asked: dict[str, Any]
    record: registry.TrackedRun


def _away(
    run: str, recipe: Recipe, record: registry.TrackedRun, source: dict[str, Any], pool: str | None
) -> Away | None:
    """Where the training goes; None: it stays here."""
    mine = pools.pool_of(flow_run.id)
    there = pool or (recipe.training.pool if mine else None)
    if there in (None, mine):
        return None
    asked = {
        "recipe": recipe.name,
        "digest": recipe.digest,
        "data_version": source["version"],
        "code": provenance.code_version(),
        "run": run,
        "record": record.id,
        "parent": flow_run.id,
    }
    return Away(str(there), asked, record)


def _train(
    name: str, recipe: Recipe, paths: RunPaths, away: Away | None, **on: Any
) -> dict[str, Any]:
    """The train step, here or in another pool; where that cannot, here on the CPU if the recipe
    says so.
    """
    if away is None:
        return run_step(name, recipe, paths, **on)
    try:
        return _train_away(
            recipe,
            paths,
            away,
            {k: v for k, v in on.items() if k in ("device", "workers") and v != "auto"},
        )
    except (PoolError, DeviceError) as error:
        if recipe.training.fallback != "cpu":
            raise
        get_run_logger().warning(
            "%s; training here on the CPU, as the recipe says (training.fallback)", error
        )
        return {
            **run_step(name, recipe, paths, **{**on, "device": "cpu"}),
            "instead": f"of pool {away.pool}: {error}",
        }


def _train_away(recipe: Recipe, paths: RunPaths, away: Away, on: dict[str, Any]) -> dict[str, Any]:
    patience = recipe.training.start_timeout_seconds
    child = pools.run_in_pool(
        f"train/{away.pool}", {**away.asked, **on}, patience, get_run_logger().info
    )
    state = child.state
    if state is None or not state.is_completed():
        said = (
            f"the training in pool {away.pool} ended {state.name if state else 'unknown'}: "
            f"{state.message if state else ''}"
        )
        raise (PoolError if state and state.name == pools.REFUSED else TrainingError)(said)
    away.record.download_training_files(HANDED_OVER, paths.folder)
    result: dict[str, Any] = read_json(paths / TRAINING_REPORT)
    if result.pop("transform") != provenance.md5_of(paths / PREPROCESSOR):
        raise TrainingError(
            f"the worker {result['host']} fitted another scaling to the same data: compare "
            "versions there"
        )
    return {**result, "pool": away.pool}


@contextmanager
def following(
    record: registry.TrackedRun, recipe: Recipe, split: dict[str, dict[str, int]]
) -> Iterator[Callable[..., None]]:
    """A callback of the training that shows its progress and notes its figures."""
    rows = sum(split["train"].values()) * recipe.training.repeat * recipe.training.epochs
    progress = artifacts.progress(recipe.name, rows)
    with tqdm(
        total=rows, desc="train", unit="row", unit_scale=True, disable=None, leave=False
    ) as bar:
        yield _follow(record, bar, progress)
    progress(rows)


def _stepper(
    recipe: Recipe, paths: RunPaths, summary: dict[str, Any]
) -> Callable[..., dict[str, Any]]:
    def step(name: str, **options: Any) -> dict[str, Any]:
        started = time.perf_counter()
        outcome: Any = TASKS[name](name, recipe, paths, **options)
        result: dict[str, Any] = outcome.model_dump() if isinstance(outcome, Record) else outcome
        summary["seconds"][name] = round(time.perf_counter() - started, 2)
        if name == "pull":
            summary["source"] = result
        return result

    return step


def _follow(
    record: registry.TrackedRun, bar: "tqdm[Any]", progress: Callable[[int], None]
) -> Callable[[int, dict[str, float], EpochMetrics | None], None]:
    def follow(rows: int, figures: dict[str, float], epoch: EpochMetrics | None) -> None:
        shown = epoch.model_dump(exclude={"batch_losses"}) if epoch else dict(figures)
        number = int(shown.pop("epoch"))
        if epoch:
            with suppress(Exception):  # they are for display; the run's own record is the truth
                record.log_metrics(shown, number)
        bar.set_postfix(
            {"epoch": number, **{k: f"{v:.4f}" for k, v in shown.items()}}, refresh=False
        )
        bar.update(rows - bar.n)
        progress(rows)

    return follow


def _state(verdict: dict[str, Any], promoted: bool) -> State[Any]:
    if promoted:
        return Completed(name="Promoted", message=verdict["reason"])
    if verdict["verdict"] == REJECT:
        return Failed(name="Rejected", message=verdict["reason"])
    return Completed(name="Inconclusive", message=verdict["reason"])
