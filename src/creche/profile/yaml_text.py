"""Write values as YAML that a recipe's reader reads as the same values."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from creche.profile.nice_numbers import spelled

PLAIN = re.compile(r"[A-Za-z_][\w+/]*([ .+/-]+[\w+/]+)*", re.ASCII)
WHOLE = re.compile(r"0|-?[1-9]\d{0,8}", re.ASCII)
# What YAML 1.1 reads as something else than a text.
NO_TEXTS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf"}
# Up to a comma that is no part of a quoted text.
UNBROKEN = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+(?:, |$)')
MAX_COMMENT = 160  # characters


def scalar(value: object) -> str:
    """Return a text, number or truth value as YAML on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return number(value)
    text = str(value)
    is_plain = PLAIN.fullmatch(text) and text.lower() not in NO_TEXTS
    if is_plain or WHOLE.fullmatch(text):
        return text
    return quoted(text)


def number(value: float) -> str:
    """Return a number that YAML 1.1 reads as one: it wants a point and a sign in the exponent."""
    text = spelled(value)
    if "e" in text:
        mantissa, exponent = text.split("e")
        point = "" if "." in mantissa else ".0"
        sign = "" if exponent[0] in "+-" else "+"
        return f"{mantissa}{point}e{sign}{exponent}"
    return text


def quoted(text: str) -> str:
    """Return a text in double quotes."""
    dumped = yaml.safe_dump(text, default_style='"', allow_unicode=text.isprintable(), width=10**9)
    return dumped.rstrip("\n")


def flow(value: Any) -> str:
    """Return a value on one line: `{kind: number, min: 0}`, `[a, b]`."""
    if isinstance(value, Mapping):
        pairs = [f"{scalar(key)}: {flow(each)}" for key, each in value.items()]
        return "{" + ", ".join(pairs) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(flow(each) for each in value) + "]"
    # Commas and brackets would end a plain text here, and no plain text has any.
    return scalar(value)


def wrapped(text: str, width: int, indent: str) -> list[str]:
    """Return YAML of one line on several, broken behind commas outside quotes."""
    parts = []
    for match in UNBROKEN.finditer(text):
        parts.append(match[0])
    lines = [""]
    for part in parts:
        if lines[-1] and len(indent) + len(lines[-1]) + len(part.rstrip()) > width:
            lines.append("")
        lines[-1] += part
    return [f"{indent}{line.rstrip()}" for line in lines]


def comment(text: str) -> str:
    """Return a text that can stand behind a `#` on one line."""
    line = " ".join(text.split())
    printable = "".join(each if each.isprintable() else "�" for each in line)
    if len(printable) > MAX_COMMENT:
        printable = f"{printable[: MAX_COMMENT - 1].rstrip()}…"
    return printable
