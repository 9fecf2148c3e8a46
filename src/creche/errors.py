"""Everything that creche raises on purpose.

CrecheError
├── UsageError       the command or its arguments are wrong (exit code 2)
├── RecipeError      a recipe cannot be read, or a key in it is wrong
├── DataError        the data are not available, cannot be read, or are not the expected ones
│   ├── UnreachableError  their source does not respond now
│   ├── ContractError    its columns are not the ones that the contract names
│   └── QuarantineError  too many of its rows break the contract
├── DeviceError      the requested device is not available, or has not enough memory
├── PoolError        no worker of the requested work pool takes the run
├── TrainingError    training cannot continue
├── ModelError       a model file is missing, altered, or was not written by creche
└── RegistryError    the registry has no such entry, or it contradicts the request
    └── StoreError       its store is locked or does not respond now: try again

A message names the file, the row or the key, and says what to do next.
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
    """The data cannot be had, read or trusted."""


class UnreachableError(DataError):
    """They lie behind a network or a store that does not answer now: trying again may help."""


class ContractError(DataError):
    """The columns are not the ones that the contract names."""


class QuarantineError(DataError):
    """Too many of its rows break the contract; they are in the quarantine, with their reasons."""


class DeviceError(CrecheError):
    """The device asked for is not there."""


class PoolError(CrecheError):
    """No worker of the work pool asked for takes the run."""


class TrainingError(CrecheError):
    """Training cannot go on."""


class ModelError(CrecheError):
    """A model file is missing, altered, or not one of ours."""


class RegistryError(CrecheError):
    """The registry does not know, or does not agree."""


class StoreError(RegistryError):
    """The store does not answer, is locked, or cannot be written: it may be otherwise in a
    while.
    """


def shortened(text: str, length: int) -> str:
    """Return a text on one line of at most so many characters, with an ellipsis where it is cut."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"
