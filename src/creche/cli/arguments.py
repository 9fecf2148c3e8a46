"""Arguments, exit codes and output that all commands share."""

import argparse
import json
from collections.abc import Callable
from typing import Any

NOT_PROMOTED = 3
# Exit codes of a run's final states; any other state is 1.
EXIT_CODES_BY_STATE = {
    "Promoted": 0,
    "Unchanged": 0,
    "Rejected": NOT_PROMOTED,
    "Inconclusive": NOT_PROMOTED,
}
DEVICES = ("auto", "cpu", "cuda", "mps")
MODEL_HELP = "a recipe (its champion), penguins@7, or an .onnx file"

Commands = Any  # argparse's action that holds the parsers of the commands
Run = Callable[[argparse.Namespace], int]


def add_command(
    commands: Commands, name: str, run: Run, description: str, example: str
) -> argparse.ArgumentParser:
    """Add a command with its example and `--json`."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=description, description=description, epilog=f"example: {example}"
    )
    parser.set_defaults(run=run)
    parser.add_argument("--json", action="store_true", help="print one JSON object, for scripts")
    return parser


def print_json(value: Any) -> None:
    """Print a value, or a record, as one line of JSON."""
    print(json.dumps(value, default=_as_json))


def _as_json(value: Any) -> Any:
    from pydantic import BaseModel

    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return str(value)
