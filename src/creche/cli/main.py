"""Train, evaluate, promote and apply classifiers."""

import argparse
import os
import sys

from creche import __version__
from creche.cli import (
    champions,
    init,
    model_files,
    models,
    prune,
    rename,
    scoring,
    services,
    training,
)
from creche.errors import CrecheError

EPILOG = (
    "exit codes: 0 done; 1 refused or failed, with the reason; 2 wrong usage; 3 done, but the "
    "model is not promoted, or would not be"
)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, run the command, and turn its errors into a sentence and an exit code.

    Returns:
        The exit code.
    """
    options = build_parser().parse_args(argv)
    try:
        code: int = options.run(options)
        return code
    except CrecheError as error:
        print(f"creche: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(training.INTERRUPTED, file=sys.stderr)
        return training.INTERRUPTED_EXIT_CODE
    except FileNotFoundError as error:
        print(f"creche: {error.filename}: no such file", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of the output has closed it, so nothing more may be written there.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        # A path that is too long, a folder that may not be written to, a full disk.
        if error.filename is None:
            raise
        print(f"creche: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package == "creche":
            raise
        remedy = "run `pip install 'creche[pipeline]'`"
        print(f"creche: this needs {error.name}: {remedy}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser("creche", description=__doc__, epilog=EPILOG)
    parser.add_argument("--version", action="version", version=f"creche {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for group in (init, training, scoring, model_files, models, prune, champions, rename, services):
        group.add_commands(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
