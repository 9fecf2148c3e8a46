"""Read the values of a JSON document one after the other, without holding all of it."""

import codecs
import json
from collections.abc import Iterator
from typing import Any

from creche.errors import DataError

CHUNK_BYTES = 1 << 20
MAX_VALUE_CHARACTERS = 4 << 20  # of one element
SPACES = " \t\n\r"
ESCAPE = "\\u"  # begins a character that JSON writes by its number


class JsonScanner:
    """The position in a JSON document.

    Args:
        stream: the document as UTF-8.
        name: of the file in messages.

    Attributes:
        is_plain: whether no text so far has a character that is written by its number.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream = stream
        self._name = name
        self._decode_bytes = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._decode_value = json.JSONDecoder().raw_decode
        self._text = ""
        self._at = 0
        self._passed = 0  # characters before the text
        self._has_ended = False
        self.is_plain = True

    def peek(self) -> str:
        """Return the next character that is no space; empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in SPACES:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if self._has_ended:
                return ""
            self._read_more()

    def expect(self, characters: str) -> str:
        """Pass one of these characters, and return it.

        Raises:
            DataError: the next one is another.
        """
        character = self.peek()
        if not character or character not in characters:
            raise self._error()
        self._at += 1
        return character

    def value(self) -> Any:
        """Pass the next value, and return it.

        Raises:
            DataError: there is none, or it is no JSON.
        """
        self.peek()
        while True:
            try:
                value, end = self._decode_value(self._text, self._at)
            except RecursionError:
                raise self._error() from None
            except ValueError:
                is_too_long = len(self._text) - self._at > MAX_VALUE_CHARACTERS
                if self._has_ended or is_too_long:
                    raise self._error() from None
                self._read_more()
                continue
            # A number may go on in what has not been read.
            if end < len(self._text) or self._has_ended:
                self._at = end
                return value
            self._read_more()

    def elements(self) -> Iterator[Any]:
        """Pass an array, and yield its elements.

        Raises:
            DataError: it is no array.
        """
        self.expect("[")
        if self.peek() == "]":
            self.expect("]")
            return
        while True:
            yield self.value()
            if self.expect(",]") == "]":
                return

    def values(self) -> Iterator[Any]:
        """Yield the values up to the end, which spaces separate."""
        while self.peek():
            yield self.value()

    def members(self) -> Iterator[str]:
        """Pass an object, and yield its keys; the caller passes the value of each."""
        self.expect("{")
        if self.peek() == "}":
            self.expect("}")
            return
        while True:
            key = self.value()
            if not isinstance(key, str):
                raise self._error()
            self.expect(":")
            yield key
            if self.expect(",}") == "}":
                return

    def expect_end(self) -> None:
        """Check that the document ends here.

        Raises:
            DataError: it goes on.
        """
        if self.peek():
            raise self._error()

    def _read_more(self) -> None:
        chunk = bytes(self._stream.read(CHUNK_BYTES))
        self._has_ended = not chunk
        self._passed += self._at
        self._text = self._text[self._at :] + self._decode_bytes(chunk, not chunk)
        self._at = 0
        self.is_plain = self.is_plain and ESCAPE not in self._text

    def _error(self) -> DataError:
        where = self._passed + self._at + 1
        return DataError(
            f"{self._name} is not valid JSON at character {where:,}: write it again as JSON lines, "
            "one object a line"
        )
