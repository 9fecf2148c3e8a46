"""The warnings of a run on the terminal, besides its summary."""

import sys

from creche.pipeline.runner import RunObserver


class PrintedWarnings(RunObserver):
    """Prints the problems of a run that do not change its outcome."""

    def on_warning(self, message: str) -> None:
        print(f"creche: {message}", file=sys.stderr)
