"""The Python API: a project, its runs, and its models. The command line and the flows call it too."""

from pathlib import Path
from typing import Literal

from creche.pipeline.runner import MANUAL, PipelineRunner, RunObserver, RunOptions, StepExecutor
from creche.pipeline.steps import run_step_with_retries
from creche.project import ProjectPaths
from creche.recipe import Recipe, load
from creche.records import RunRecord

Device = Literal["auto", "cpu", "cuda", "mps"]


class Project:
    """A folder with recipes, and what its runs left.

    Args:
        root: the project's folder, or any folder in it.

    Example:
        >>> import creche
        >>> project = creche.Project(".")
        >>> project.recipes()
        ['cifar10', 'cifar10-tutorial', 'penguins', 'penguins-lab']
    """

    def __init__(self, root: str | Path = ".") -> None:
        self.paths = ProjectPaths.find(Path(root))

    def __repr__(self) -> str:
        return f"Project({str(self.paths.root)!r})"

    def recipes(self) -> list[str]:
        """Return the names of the project's recipes."""
        return sorted(path.stem for path in (self.paths.root / "recipes").glob("*.yaml"))

    def recipe(self, name: str) -> Recipe:
        """Read and check a recipe.

        Args:
            name: in `recipes/`, or a path to its file.

        Raises:
            RecipeError: there is none, or a key is unknown, missing or wrong.
        """
        return load(name, self.paths.root)

    def retrain(
        self,
        recipe: str,
        *,
        data: str | Path | None = None,
        force: bool = False,
        device: Device = "auto",
        workers: int | None = None,
        trigger: str = MANUAL,
        run: str | None = None,
        execute: StepExecutor = run_step_with_retries,
        observer: RunObserver | None = None,
    ) -> RunRecord:
        """Train a challenger, judge it, and promote it if it is better.

        It runs in this process, without a Prefect server.

        Args:
            recipe: a name in `recipes/`, or a path.
            data: a file to read in place of the recipe's source; its MD5 must be the same.
            force: train although nothing has changed since the last verdict.
            device: where to train; `auto` takes a GPU where there is one.
            workers: processes that share each batch, in place of the recipe's number.
            trigger: what started the run, for its record.
            run: the run's id; by default a new one.
            execute: runs a step; the retrain flow runs it as a Prefect task.
            observer: is called as the run goes on.

        Returns:
            The run's record, which `run.json` holds too. `state` is Promoted, Rejected,
            Inconclusive, Unchanged, Quarantined or Failed; `message` says why.

        Raises:
            RecipeError: the recipe is not there, or wrong.
        """
        loaded = self.recipe(recipe)
        paths = self.paths.run(run or ProjectPaths.new_run_id(loaded.name))
        options = RunOptions(
            data=Path(data).resolve() if data else None,
            force=force,
            device=device,
            workers=workers,
            trigger=trigger,
        )
        return PipelineRunner(loaded, paths, options, execute, observer).run()
