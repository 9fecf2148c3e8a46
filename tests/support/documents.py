"""The code blocks of README and docs."""

import re
from dataclasses import dataclass
from pathlib import Path

from support.projects import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOOLS = ("creche", "dvc", "make", "git", "export", "source")


@dataclass(frozen=True)
class Block:
    """A fenced block, with its language; empty where it names none."""

    language: str
    text: str


def documents() -> list[Path]:
    """Return README, CONTRIBUTING and every page of the docs."""
    pages = sorted((ROOT / "docs").rglob("*.md"))
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *pages]


def blocks(document: Path) -> list[Block]:
    """Return the code blocks of a document in their order."""
    text = document.read_text(encoding="utf-8")
    return [Block(language, content) for language, content in BLOCK.findall(text)]


def block_of(document: Path, language: str) -> str:
    """Return the first block of a language."""
    return next(block.text for block in blocks(document) if block.language == language)


def commands(document: Path) -> list[str]:
    """Return the commands in a document's blocks, without the remarks behind them."""
    lines = []
    for block in blocks(document):
        for line in block.text.splitlines():
            command = line.removeprefix("$ ")
            is_prompt = command != line
            is_plain = not block.language and line.startswith(tuple(f"{tool} " for tool in TOOLS))
            if is_prompt or is_plain:
                lines.append(re.sub(r"\s{2,}#? ?.*|\s+# .*", "", command))
    return lines
