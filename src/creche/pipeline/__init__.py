"""The steps of a run, from files to files, and the runner of the whole pipeline."""

from creche.pipeline.steps import STEPS, run_step

__all__ = ["STEPS", "run_step"]
