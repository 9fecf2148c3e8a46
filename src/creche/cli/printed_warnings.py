"""What the terminal shows of a run besides its summary."""

import sys

from creche.pipeline.runner import RunObserver


class PrintedWarnings(RunObserver):
    """Prints what goes wrong without deciding the run."""

    def on_warning(self, message: str) -> None:
        print(f"creche: {message}", file=sys.stderr)
