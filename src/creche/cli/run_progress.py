"""What the terminal shows of a run before its summary."""

import sys

from creche.pipeline.runner import RunObserver


class PrintedProgress(RunObserver):
    """Prints each step with its time, and what goes wrong without deciding the run.

    The steps are for a person who waits: they are printed where standard error is a terminal.
    """

    def on_step_end(self, name: str, seconds: float) -> None:
        if sys.stderr.isatty():
            print(f"  {name:<11} {seconds:6.2f} s", file=sys.stderr)

    def on_warning(self, message: str) -> None:
        print(f"creche: {message}", file=sys.stderr)
