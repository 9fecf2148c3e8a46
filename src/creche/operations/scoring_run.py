"""A scoring for the score flow: its outcome in the terms of the flow's final states."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from creche.api.project import Project
from creche.errors import CrecheError, QuarantineError
from creche.operations import scoring_artifacts
from creche.project import MANIFEST
from creche.scoring.executors import DaskExecutor
from creche.scoring.manifest import read_manifest, summary_lines
from creche.scoring.writer import OutputFormat

OutcomeState = Literal["Scored", "Unchanged", "Quarantined", "Failed", "Cancelled"]


@dataclass(frozen=True)
class ScoringOutcome:
    """How a scoring ended."""

    state: OutcomeState
    message: str
    error: CrecheError | None = None  # that ended it, of Quarantined and Failed


@dataclass(frozen=True)
class ScoringRun:
    """Scores files with a recipe's champion, and shows the result in the Prefect UI.

    Attributes:
        dask: address of a Dask scheduler; None: the files are scored in this process.
    """

    project: Project
    recipe: str
    output_format: OutputFormat = "parquet"
    dask: str | None = None

    def score(self, files: Sequence[str], out: Path) -> ScoringOutcome:
        """Score files into a folder. What is raised on purpose becomes the outcome."""
        try:
            manifest = self.project.score(
                files,
                out=out,
                recipe=self.recipe,
                output_format=self.output_format,
                executor=DaskExecutor(self.dask) if self.dask else None,
                on_file=scoring_artifacts.scoring_progress(self.recipe),
            )
            outcome = ScoringOutcome("Scored", summary_lines(manifest)[0])
        except QuarantineError as error:
            # The manifest and the quarantine of a refused batch are published too.
            manifest = read_manifest(out / MANIFEST)
            outcome = ScoringOutcome("Quarantined", str(error), error)
        except CrecheError as error:
            return ScoringOutcome("Failed", str(error), error)
        scoring_artifacts.show_scoring(self.recipe, outcome.state, outcome.message, manifest)
        return outcome
