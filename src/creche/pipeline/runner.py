"""The whole pipeline as one run, in this process.

It needs no Prefect: the retrain flow gives it another way to execute a step, and an observer that
shows the run on the Prefect pages.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from creche import provenance, registry
from creche.errors import CrecheError, DataError, QuarantineError
from creche.pipeline.progress import total_rows, training_progress
from creche.pipeline.steps import expanded_recipe, run_step_with_retries
from creche.pipeline.table_checks import check_freshness, raise_failed
from creche.project import CARD, RUN, VALIDATION, RunPaths, atomic_write, read_record, write_record
from creche.recipe import METRICS, Recipe
from creche.records import (
    REJECT,
    MlflowReference,
    RunRecord,
    RunState,
    SourceInfo,
    TrainingReport,
    ValidationReport,
    Verdict,
)
from creche.registry import TrackedRun, promotion_log
from creche.registry.renaming import rename_advice

MANUAL = "manual"  # the trigger of a run that a person started
# What an unchanged run states as the run did whose verdict still holds.
CARRIED_OVER = (
    "validation",
    "split",
    "training",
    "evaluation",
    "verdict",
    "promotion",
    "mlflow",
)
TIME_FORMAT = "%Y-%m-%d %H:%M:%SZ"


class StepExecutor(Protocol):
    """Runs a step and returns its record."""

    def __call__(self, name: str, recipe: Recipe, paths: RunPaths, **options: Any) -> Any: ...


class RunObserver:
    """Is called as a run goes on; here every method does nothing."""

    def on_identified(self, record: RunRecord) -> None:
        """The run can be named: its data version is known, or it has failed before it was."""

    def on_tracked(self, record: RunRecord, tracked_run: TrackedRun) -> None:
        """The run has begun in MLflow."""

    def on_step_start(self, name: str) -> None:
        """A step begins."""

    def on_step_end(self, name: str, seconds: float) -> None:
        """A step has ended well, after `seconds`."""

    def on_validated(self, record: RunRecord) -> None:
        """The observations are validated."""

    def on_training(self, total: int) -> Callable[[int], None]:
        """The training begins, of `total` rows over all epochs; the result is called with the rows
        that are done.
        """
        return lambda rows: None

    def on_reused_training(self, training: TrainingReport) -> None:
        """The weights are those of an earlier run, so nothing is trained."""

    def on_warning(self, message: str) -> None:
        """Something went wrong that does not decide the run."""

    def on_end(self, record: RunRecord) -> None:
        """The run has ended and its record is written; not after an interrupt."""


@dataclass(frozen=True)
class RunOptions:
    """What a run may be asked for.

    Attributes:
        data: a file to read in place of the recipe's source; its MD5 must be the same.
        force: train although nothing has changed since the last verdict.
        device: auto, cpu, cuda or mps.
        processes: how many share each batch; None: as the recipe says.
        trigger: what started the run, for its record.
        now: the time by which the age of the data is judged; None: that of the step.
    """

    data: Path | None = None
    force: bool = False
    device: str = "auto"
    processes: int | None = None
    trigger: str = MANUAL
    now: datetime | None = None


class PipelineRunner:
    """One production run of a recipe, from its data to its verdict."""

    def __init__(
        self,
        recipe: Recipe,
        paths: RunPaths,
        options: RunOptions,
        execute: StepExecutor = run_step_with_retries,
        observer: RunObserver | None = None,
    ) -> None:
        self.recipe = recipe
        self.paths = paths
        self.options = options
        self.execute = execute
        self.observer = observer or RunObserver()
        self.record = RunRecord(
            run_id=paths.folder.name,
            recipe=recipe.name,
            trigger=options.trigger,
            started=f"{datetime.now(UTC):{TIME_FORMAT}}",
        )

    def run(self) -> RunRecord:
        """Run all steps and write `run.json`, whatever happens.

        Returns:
            The record. What creche refuses on purpose is in its state and message.

        Raises:
            Exception: what creche did not expect; the record then says Failed.
            BaseException: an interrupt or a cancellation; the record then says Interrupted.
        """
        try:
            self._run_steps()
        except CrecheError as error:
            is_quarantined = isinstance(error, QuarantineError)
            self._finish("Quarantined" if is_quarantined else "Failed", str(error))
        except Exception as error:
            self._finish("Failed", _describe(error))
            self._write_record_and_report()
            raise
        except BaseException as error:
            self._finish("Interrupted", _describe(error))
            # Whoever cancels or interrupts a run does not wait for its pages.
            write_record(self.paths / RUN, self.record)
            raise
        self._write_record_and_report()
        return self.record

    def _write_record_and_report(self) -> None:
        write_record(self.paths / RUN, self.record)
        if self.record.source is None:
            # An observer names the run even if it failed before its data version was known.
            self.observer.on_identified(self.record)
        self.observer.on_end(self.record)

    def _finish(self, state: RunState, message: str) -> None:
        self.record.state = state
        self.record.message = message

    def _run_steps(self) -> None:
        record = self.record
        options = {"data": self.options.data} if self.options.data else {}
        source: SourceInfo = self._step("pull", **options)
        record.source = source
        self.observer.on_identified(record)
        self.recipe = expanded_recipe(self.recipe, self.paths)
        fingerprint = provenance.fingerprint(source.data_version, self.recipe.digest)
        reconciled = promotion_log.reconcile(self.recipe.name, self.paths)
        if reconciled:
            self.observer.on_warning(reconciled)
        last_judged = registry.last_judged_run(self.recipe.name, self.paths)
        if last_judged is not None:
            is_unchanged = last_judged.fingerprint == fingerprint
            if is_unchanged and not self.options.force:
                self._finish_unchanged(last_judged)
                return
            record.last_judged_verdict = last_judged.verdict
        else:
            advice = rename_advice(self.recipe.name, self.paths)
            if advice:
                self.observer.on_warning(advice)
        tracked_run = self._start_tracking(source, fingerprint)
        with _recorded_failure(tracked_run):
            self._train_and_judge(tracked_run)
        assert record.verdict is not None
        assert record.promotion is not None
        self._store_files(tracked_run)
        self._finish_tracking(tracked_run, record.verdict)
        self._finish(_state(record.verdict, record.promotion.is_champion), record.verdict.reason)

    def _check_freshness(self, judged: registry.JudgedRun) -> None:
        """Check that unchanged data have not become too old meanwhile."""
        if self.recipe.table.fresh is None or judged.newest is None:
            return
        check = check_freshness(self.recipe, judged.newest, self.options.now or datetime.now(UTC))
        assert self.record.source is not None
        raise_failed(self.record.source.path, [check])

    def _finish_unchanged(self, judged: registry.JudgedRun) -> None:
        self._check_freshness(judged)
        self.record.unchanged_since_run_id = judged.run_id
        # The files of that run may have been pruned, or be of an older version of creche.
        with suppress(DataError, FileNotFoundError):
            previous = read_record(self.paths.run(judged.run_id) / RUN, RunRecord)
            for name in CARRIED_OVER:
                setattr(self.record, name, getattr(previous, name))
        self._finish(
            "Unchanged",
            f"Data, recipe, code and libraries are those of run {judged.run_id} (verdict "
            f"{judged.verdict}): nothing to train; --force trains all the same",
        )

    def _start_tracking(self, source: SourceInfo, fingerprint: str) -> TrackedRun:
        tags = {
            registry.RUN_ID_TAG: self.paths.folder.name,
            "data_version": source.data_version,
            "fingerprint": fingerprint,
            "git_commit": provenance.git_commit(self.paths.root),
        }
        params = self.recipe.training.model_dump()
        tracked_run = TrackedRun.start(
            self.recipe.name, self.paths.folder.name, params, tags, self.paths
        )
        self.record.mlflow = MlflowReference(
            experiment_id=tracked_run.experiment_id, mlflow_run_id=tracked_run.mlflow_run_id
        )
        self.observer.on_tracked(self.record, tracked_run)
        return tracked_run

    def _validate(self) -> None:
        try:
            options = {"now": self.options.now} if self.options.now else {}
            self.record.validation = self._step("validate", **options)
        except CrecheError:
            # The counts are written even where too many rows are quarantined.
            with suppress(DataError, FileNotFoundError):
                self.record.validation = read_record(self.paths / VALIDATION, ValidationReport)
            raise
        finally:
            if self.record.validation is not None:
                self.observer.on_validated(self.record)

    def _record_table(self, tracked_run: TrackedRun) -> None:
        """Record in MLflow what the checks of a later table compare it with."""
        assert self.record.validation is not None
        tracked_run.set_tag(registry.ROWS_TAG, str(self.record.validation.rows))
        if self.record.validation.newest is not None:
            tracked_run.set_tag(registry.NEWEST_TAG, self.record.validation.newest)

    def _train_and_judge(self, tracked_run: TrackedRun) -> None:
        record = self.record
        self._validate()
        self._record_table(tracked_run)
        record.split = self._step("preprocess")
        if not self._reuse_training(tracked_run):
            self._train(tracked_run)
        self._step("export")
        record.evaluation = self._step("evaluate")
        metrics = {
            f"holdout_{name}": getattr(record.evaluation, name) for name in registry.HOLDOUT_METRICS
        }
        for name in METRICS:
            estimate = record.evaluation.metrics.get(name)
            if estimate is not None and estimate.value is not None:
                metrics[f"holdout_{name}"] = estimate.value
        tracked_run.log_metrics(metrics)
        record.verdict = self._step("gate")
        record.promotion = self._step("promote", tracked_run=tracked_run)

    def _reuse_training(self, tracked_run: TrackedRun) -> bool:
        """Take the weights of an earlier run where nothing has changed that decides them."""
        if self.options.force:
            return False
        # It imports torch, which an unchanged run need not.
        from creche.pipeline.reused_training import reuse_training

        training = reuse_training(
            self.recipe, self.paths, self.options.device, self.options.processes
        )
        if training is None:
            return False
        assert training.reused_from is not None
        self.record.training = training
        tracked_run.set_tag("weights_of", training.reused_from)
        self.observer.on_reused_training(training)
        return True

    def _train(self, tracked_run: TrackedRun) -> None:
        assert self.record.split is not None
        total = total_rows(self.recipe, self.record.split)
        on_rows = self.observer.on_training(total)
        with training_progress(tracked_run, total, on_rows) as on_progress:
            self.record.training = self._step(
                "train",
                device=self.options.device,
                processes=self.options.processes,
                on_progress=on_progress,
            )

    def _store_files(self, tracked_run: TrackedRun) -> None:
        """Write the card, and store the run's files in MLflow: for display, so a failure of it is a
        warning.
        """
        from creche.reporting.html_pages import model_card

        try:
            card = model_card(self.record, self.recipe.describe(), self.paths.folder)
            with atomic_write(self.paths / CARD) as temporary:
                temporary.write_text(card, encoding="utf-8")
            tracked_run.log_run_folder(self.paths.folder)
        except Exception as error:
            self.observer.on_warning(f"the run's files did not reach the store: {error}")

    def _finish_tracking(self, tracked_run: TrackedRun, verdict: Verdict) -> None:
        """Record the verdict in MLflow, where the next run looks for it."""
        try:
            tracked_run.set_tag("verdict", verdict.verdict)
            tracked_run.finish("FINISHED")
        # The champion is set and logged by now: the run must not end as failed.
        except Exception as error:
            self.observer.on_warning(
                f"the verdict did not reach the store, so the next run trains again: {error}"
            )

    def _step(self, name: str, **options: Any) -> Any:
        self.observer.on_step_start(name)
        started = time.perf_counter()
        result = self.execute(name, self.recipe, self.paths, **options)
        seconds = round(time.perf_counter() - started, 2)
        self.record.seconds[name] = seconds
        self.observer.on_step_end(name, seconds)
        return result


@contextmanager
def _recorded_failure(tracked_run: TrackedRun) -> Iterator[None]:
    """Record in MLflow that the run has failed, or was killed, where the block raises."""
    try:
        yield
    except BaseException as error:
        # The store may be what went wrong.
        with suppress(Exception):
            tracked_run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _state(verdict: Verdict, is_champion: bool) -> RunState:
    if is_champion:
        return "Promoted"
    if verdict.verdict == REJECT:
        return "Rejected"
    return "Inconclusive"
