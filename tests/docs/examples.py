"""The code blocks of a page as one program, and what the page says that it prints."""

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n(?:\n((?:^ {4}[^\n]*\n)+))?", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Example:
    """A fenced block, and the indented one that follows it at once: what it prints."""

    code: str
    printed: str


def examples(page: str, language: str) -> list[Example]:
    """Return the blocks of a language on a page of docs/, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        Example(code, re.sub("^ {4}", "", printed, flags=re.MULTILINE))
        for found, code, printed in _BLOCK.findall(text)
        if found == language
    ]


def matches(printed: str, expected: str) -> bool:
    """Return whether a line is the expected one, in which … stands for anything."""
    pattern = ".*".join(map(re.escape, expected.split("…")))
    return re.fullmatch(pattern, printed) is not None
