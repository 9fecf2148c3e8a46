"""The text of a rule: its names, values and dates are found, and Python's parser reads the rest.

Nothing is evaluated by Python: `creche.contract.expression_compiler` walks the syntax tree, and
accepts a few kinds of its nodes.
"""

import ast
import io
import re
import tokenize
from dataclasses import dataclass
from typing import Literal

MAX_LENGTH = 2000  # characters of an expression
# What stands in quotes is a text, in backticks the name of a column. A date needs neither.
TOKEN = re.compile(
    r"""(?P<text>'[^']*'|"[^"]*")"""
    r"|(?P<name>`[^`]*`)"
    r"|(?<![\w.])(?P<date>\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?"
    r"(?:Z|[+-]\d{2}:\d{2})?)?)(?!\w)"
)
FORM = "write it as in `death_date >= birth_date`, or `not missing(visa) or country == US`"


class ExpressionError(ValueError):
    """An expression cannot be read; the message has the position, from 1, and the way out."""


@dataclass(frozen=True)
class Token:
    """A name in backticks, a text in quotes, or a date."""

    kind: Literal["text", "name", "date"]
    content: str
    end: int  # position behind it


class ExpressionText:
    """An expression as text and as Python's syntax tree.

    Attributes:
        text: on one line.
        root: of the syntax tree.
    """

    def __init__(self, text: str) -> None:
        """Parse an expression.

        Raises:
            ExpressionError: it is no expression.
        """
        self.text = re.sub(r"\s", " ", text).strip()
        self._tokens: dict[int, Token] = {}
        if len(self.text) > MAX_LENGTH:
            raise ExpressionError(f"has more than {MAX_LENGTH:,} characters: make two rules of it")
        if not self.text:
            raise ExpressionError(f"is empty: {FORM}")
        self._source = TOKEN.sub(self._hide, self.text)
        self._bytes = self._source.encode()
        self.root = self._parse()

    def _hide(self, match: re.Match[str]) -> str:
        """Note a token, and return a name of its length that Python's parser takes in its place."""
        content = match[0]
        kind = match.lastgroup
        if kind != "date":
            content = content[1:-1]
        token = Token(kind, content, match.end())  # type: ignore[arg-type]
        self._tokens[match.start()] = token
        return "_" * len(match[0])

    def _parse(self) -> ast.expr:
        try:
            root = ast.parse(self._source, mode="eval").body
            tokens = list(tokenize.generate_tokens(io.StringIO(self._source).readline))
        except SyntaxError as error:
            raise self._syntax_error(error) from None
        except (ValueError, RecursionError, MemoryError, tokenize.TokenError):
            raise ExpressionError(f"cannot be read: {FORM}") from None
        for token in tokens:
            if token.type == tokenize.COMMENT:
                raise ExpressionError(
                    f"at position {token.start[1] + 1}: a # begins no comment here: put a text in "
                    "quotes"
                )
        return root

    def _syntax_error(self, error: SyntaxError) -> ExpressionError:
        position = error.offset or len(self.text) + 1
        if re.search(r"(?<![=!<>])=(?!=)", self._source):
            return ExpressionError(f"at position {position}: compare with == instead of =")
        return ExpressionError(
            f"cannot be read at position {position}: {FORM}; a value that is no single word or "
            "number stands in quotes"
        )

    def start(self, node: ast.AST) -> int:
        """Return the position of a node, from 0, in characters."""
        return self._characters(node.col_offset)  # type: ignore[attr-defined]

    def segment(self, node: ast.AST) -> str:
        """Return a node as it is written."""
        end = self._characters(node.end_col_offset)  # type: ignore[attr-defined]
        return self.text[self.start(node) : end]

    def token(self, node: ast.Name) -> Token | None:
        """Return the token that stands in the place of a name; None where it is a bare name.

        Raises:
            ExpressionError: a token touches something else.
        """
        start = self.start(node)
        segment = self.segment(node)
        token = self._tokens.get(start)
        if token is not None and token.end == start + len(segment):
            return token
        for position in self._tokens:
            if start <= position < start + len(segment):
                raise self.error(node, f"{segment} is no name: put a space or an operator between")
        return None

    def error(self, node: ast.AST, problem: str) -> ExpressionError:
        """Return an error about a node."""
        return ExpressionError(f"at position {self.start(node) + 1}: {problem}")

    def _characters(self, offset: int) -> int:
        """Return a position in characters of one in bytes of UTF-8."""
        return len(self._bytes[:offset].decode())
