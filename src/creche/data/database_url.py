"""The address of a database: credentials come from the environment, and leave in no message."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from creche import settings
from creche.errors import DataError

VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
PASSWORD = re.compile(r"^[\w+]+://[^/@\s]*:([^/@\s]+)@")
HIDDEN = "***"


@dataclass(frozen=True)
class DatabaseUrl:
    """An address as a recipe states it, and as it is with its environment variables filled in."""

    stated: str
    filled_in: str
    secrets: tuple[str, ...]  # texts that no message may have

    def redacted(self, text: str) -> str:
        """Return a text on one line without the secrets."""
        line = " ".join(text.split())
        for secret in self.secrets:
            line = line.replace(secret, HIDDEN)
        return line


def fill_in(stated: str) -> DatabaseUrl:
    """Return an address with its environment variables filled in.

    A variable that is the whole address is taken as it is; in one that is a part of it, characters
    that separate the parts of an address are escaped.

    Raises:
        DataError: a variable is not set.
    """
    is_whole = VARIABLE.fullmatch(stated.strip()) is not None
    secrets = []

    def value_of(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        value = settings.named_by_recipe(name)
        if value is None:
            raise DataError(
                f"the environment variable {name}, which data.url names, is not set: set it where "
                "creche runs"
            )
        escaped = value if is_whole else quote(value, safe="")
        secrets.extend([value, escaped])
        return escaped

    filled_in = VARIABLE.sub(value_of, stated.strip())
    if is_whole:
        password = PASSWORD.match(filled_in)
        secrets += [password[1]] if password else []
    # The longest first: a secret may be part of another one.
    return DatabaseUrl(stated, filled_in, tuple(sorted(set(secrets), key=len, reverse=True)))
