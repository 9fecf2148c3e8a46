"""A project: its recipes, its runs and its models. The command line and the flows call it too."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from creche.errors import UsageError
from creche.project import ProjectPaths, recipe_names

if TYPE_CHECKING:
    from creche.api.loaded_model import LoadedModel
    from creche.contract.reading import CsvDialect
    from creche.pipeline.runner import RunObserver, StepExecutor
    from creche.recipe import Recipe
    from creche.records import RunRecord, ScoringManifest
    from creche.scoring.batch import PageOf
    from creche.scoring.executors import Executor
    from creche.scoring.writer import OutputFormat

Device = Literal["auto", "cpu", "cuda", "mps"]


class Project:
    """A folder with recipes, and what its runs left.

    Args:
        root: the project's folder, or any folder in it.

    Example:
        >>> import creche
        >>> project = creche.Project(".")
        >>> "penguins" in project.recipes()
        True
    """

    def __init__(self, root: str | Path = ".") -> None:
        self.paths = ProjectPaths.find(Path(root))

    def __repr__(self) -> str:
        return f"Project({str(self.paths.root)!r})"

    def recipes(self) -> list[str]:
        """Return the names of the project's recipes."""
        return recipe_names(self.paths.root)

    def recipe(self, name: str) -> "Recipe":
        """Read and check a recipe.

        Args:
            name: in `recipes/`, or a path to its file.

        Raises:
            RecipeError: there is none, or a key is unknown, missing or wrong.
        """
        from creche.recipe import load

        return load(name, self.paths.root)

    def retrain(
        self,
        recipe: "str | Recipe",
        *,
        data: str | Path | None = None,
        force: bool = False,
        device: Device = "auto",
        processes: int | None = None,
        trigger: str = "manual",
        run_id: str | None = None,
        execute: "StepExecutor | None" = None,
        observer: "RunObserver | None" = None,
    ) -> "RunRecord":
        """Train a challenger, judge it, and promote it if it is better.

        It runs in this process, without a Prefect server.

        Args:
            recipe: a name in `recipes/`, a path, or a recipe that is already read.
            data: a file to read in place of the recipe's source; its MD5 must be the same.
            force: train although nothing has changed since the last verdict.
            device: where to train; `auto` takes a GPU where there is one.
            processes: how many share each batch; None: as the recipe says.
            trigger: what started the run, for its record.
            run_id: by default a new one.
            execute: runs a step; by default in this process, again where a remote or a store does
                not respond. The retrain flow runs it as a Prefect task.
            observer: is called as the run goes on.

        Returns:
            The run's record, which `run.json` holds too. `state` is Promoted, Rejected,
            Inconclusive, Unchanged, Quarantined or Failed; `message` says why.

        Raises:
            RecipeError: the recipe is not there, or wrong.

        Example:
            >>> import creche
            >>> record = creche.Project(".").retrain("penguins")
            >>> record.state, record.model, record.evaluation.accuracy
            ('Unchanged', 'penguins@1', 1.0)
        """
        from creche.pipeline.runner import PipelineRunner, RunOptions
        from creche.pipeline.steps import run_step_with_retries

        loaded = self.recipe(recipe) if isinstance(recipe, str) else recipe
        paths = self.paths.run(run_id or ProjectPaths.new_run_id(loaded.name))
        options = RunOptions(
            data=Path(data).resolve() if data else None,
            force=force,
            device=device,
            processes=processes,
            trigger=trigger,
        )
        runner = PipelineRunner(loaded, paths, options, execute or run_step_with_retries, observer)
        return runner.run()

    def load_model(self, reference: str | Path) -> "LoadedModel":
        """Load a model of the project; see `creche.load_model`."""
        from creche.api.loaded_model import load_project_model

        return load_project_model(str(reference), self.paths)

    def score(
        self,
        files: str | Path | Sequence[str | Path],
        *,
        out: str | Path,
        recipe: str | None = None,
        model: str | Path | None = None,
        output_format: "OutputFormat" = "parquet",
        csv: "CsvDialect | None" = None,
        executor: "Executor | None" = None,
        on_file: Callable[[int, int], None] | None = None,
    ) -> "ScoringManifest":
        """Score files of observations: every row comes back, scored or quarantined with its
        reasons.

        Args:
            files: files, globs, folders or URLs of CSV, JSON, Parquet, ORC, Arrow, workbooks, Delta
                Lake tables, images or CIFAR-10 batches.
            out: a new folder, or one of an earlier scoring.
            recipe: score with this recipe's champion.
            model: in place of `recipe`: `penguins@7`, or a path to an `.onnx` file.
            output_format: of the predictions.
            csv: how CSV files are written; by default as those that the model was trained on.
            executor: where the files are scored; by default in this process.
            on_file: is called with the files that are done, and the number of all.

        Returns:
            The manifest, which `manifest.json` in the folder holds too, and `report.html` as a
            page where the extra `pipeline` is installed.

        Raises:
            UsageError: neither or both of recipe and model are given.
            ModelError: there is no such model.
            DataError: a file cannot be read under the model's contract; nothing is published.
            QuarantineError: more rows are refused than the model's recipe allows; no predictions
                are published.

        Example:
            >>> import creche
            >>> manifest = creche.Project(".").score(
            ...     "examples/observations.csv", recipe="penguins", out="predictions"
            ... )
            >>> manifest.scored, manifest.quarantined
            (37, 3)
        """
        from creche import registry
        from creche.data.sources import find_inputs
        from creche.scoring.batch import score
        from creche.scoring.scoring_log import append_to_log

        reference = recipe or model
        if reference is None or (recipe and model):
            raise UsageError("score needs either a recipe or a model")
        arguments = [files] if isinstance(files, str | Path) else files
        opened, version = registry.open_model(str(reference), self.paths)
        reading = opened.metadata.reading
        if csv is not None:
            reading = replace(reading, csv=csv)
        inputs = find_inputs([str(argument) for argument in arguments], reading)
        folder = Path(out)
        manifest = score(
            inputs.sources,
            opened,
            version,
            folder,
            output_format,
            executor,
            on_file,
            inputs.skipped,
            _page_of_scoring(),
        )
        append_to_log(folder, manifest, self.paths)
        return manifest


def _page_of_scoring() -> "PageOf | None":
    """Return what makes the page of a scoring; None where only what scoring needs is installed."""
    if find_spec("jinja2") is None:
        return None
    from creche.reporting.scoring_page import scoring_page

    return scoring_page
