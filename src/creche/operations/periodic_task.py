"""A function that the services call every so often."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from creche.errors import shortened
from creche.operations.service_log import Log

MESSAGE_LENGTH = 200  # characters of an error in the log


@dataclass
class PeriodicTask:
    """Calls a function at an interval; its errors are logged and survived.

    Args:
        function: to call.
        interval: between the end of one call and the next (s).
    """

    function: Callable[[], None]
    interval: float
    next_call: float = 0.0  # monotonic, s
    last_error: str = ""

    def run_if_due(self, log: Log) -> None:
        """Call the function if it is time to."""
        if time.monotonic() < self.next_call:
            return
        try:
            self.function()
            self.last_error = ""
        # A server that does not respond comes back; the supervisor must not end with it.
        except Exception as error:
            description = shortened(str(error), MESSAGE_LENGTH)
            message = f"{type(error).__name__}: {description}"
            # A server that is away for minutes would fill the log with the same line.
            if message != self.last_error:
                log("creche", message)
            self.last_error = message
        self.next_call = time.monotonic() + self.interval
