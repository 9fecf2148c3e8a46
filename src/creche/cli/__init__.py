"""The command line: `creche COMMAND …`."""

from creche.cli.main import main

__all__ = ["main"]
