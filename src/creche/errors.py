"""Everything that creche raises on purpose.

CrecheError
├── UsageError           the command or its arguments are wrong (exit code 2)
├── RecipeError          a recipe cannot be read, or a key in it is wrong
├── DataError            the data are not available, cannot be read, or are not the expected ones
│   ├── ContractError    the columns are not the ones that the contract names
│   └── QuarantineError  too many rows break the contract
├── UnreachableError     a server, a remote or a cluster does not respond: try again
├── DeviceError          the requested device is not available, or has not enough memory
├── PoolError            no worker of the requested work pool takes the run
├── TrainingError        training cannot continue
│   └── AbandonedError   the run that requested the training has ended
├── ModelError           a model file is missing, altered, or was not written by creche
└── RegistryError        the registry has no such entry, or it contradicts the request
    ├── NotInStoreError  the store has no such model, version or run
    └── StoreError       the store is locked, cannot be written, or does not respond: try again

A message names the file, the row or the key, and says what to do next.

Not here are `FormatError` (data), `RefusedImageError` (contract) and `ItemError` (inbox): whoever
calls what raises them makes them a reason beside a row or a file.
"""

from collections.abc import Iterable
from itertools import islice

LISTED_NAMES = 20  # that a message lists
NAME_LENGTH = 100  # characters of each


def listed(names: Iterable[str], count: int = LISTED_NAMES, max_length: int = NAME_LENGTH) -> str:
    """Return names for a message.

    Args:
        count: of the names that are listed; the others are counted.
        max_length: characters of each.
    """
    remaining = iter(names)
    shown = []
    for name in islice(remaining, count):
        is_long = len(name) > max_length
        shown.append(f"{name[:max_length]}…" if is_long else name)
    more = sum(1 for _ in remaining)
    suffix = f" and {more:,} more" if more else ""
    return ", ".join(shown) + suffix


class CrecheError(Exception):
    """The root of all errors that creche raises on purpose.

    Files are written whole or not at all. Where several changes belong together, the message says
    what to run after an error between them.
    """

    exit_code = 1


class UsageError(CrecheError):
    """The command or its arguments are wrong."""

    exit_code = 2


class RecipeError(CrecheError):
    """A recipe cannot be read, or a key in it is wrong."""


class DataError(CrecheError):
    """The data are not available, cannot be read, or are not the expected ones."""


class ContractError(DataError):
    """The columns are not the ones that the contract names."""


class QuarantineError(DataError):
    """Too many rows break the contract; they are in the quarantine, with their reasons."""


class UnreachableError(CrecheError):
    """A server, a remote or a cluster does not respond: another attempt may succeed."""


class DeviceError(CrecheError):
    """The requested device is not available, or has not enough memory."""


class PoolError(CrecheError):
    """No worker of the requested work pool takes the run."""


class TrainingError(CrecheError):
    """Training cannot continue."""


class AbandonedError(TrainingError):
    """The run that requested the training has ended."""


class ModelError(CrecheError):
    """A model file is missing, altered, or was not written by creche."""


class RegistryError(CrecheError):
    """The registry has no such entry, or it contradicts the request."""


class NotInStoreError(RegistryError):
    """The store has no such model, version or run."""


class StoreError(RegistryError):
    """The store is locked, cannot be written, or does not respond: another attempt may succeed."""


def shortened(text: str, length: int) -> str:
    """Return a text on one line of at most so many characters, with an ellipsis where it is cut."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
