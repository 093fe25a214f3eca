"""Patterns of files as regular expressions of their paths: an object store has keys, and nothing that globs them."""

import re

_TOKEN = re.compile(r"\[!?[^\]]+\]|.", re.DOTALL)
_WILD = {"*": "[^/]*", "?": "[^/]"}


def pattern_regex(parts: list[str]) -> re.Pattern[str]:
    """Return what matches paths as `pathlib.Path.glob` does: a star stays in its folder, two stars are any folders.

    The group `below` has what follows a folder that matches.

    Args:
        parts: of the pattern, as its slashes separate them.

    Raises:
        re.error: a set of characters is none.
    """
    *folders, last = parts
    text = "".join("(?:[^/]+/)*" if part == "**" else f"{_part(part)}/" for part in folders) + (
        "(?:[^/]+/)*[^/]+" if last == "**" else _part(last)
    )
    below = "" if "**" in parts else "(?:/.+)?"
    return re.compile(f"{text}(?P<below>{below})", re.DOTALL)


def _part(pattern: str) -> str:
    """Return the regular expression of one part of a pattern."""
    return "".join(
        _WILD.get(token) or (f"(?!/){_set(token)}" if len(token) > 1 else re.escape(token))
        for token in _TOKEN.findall(pattern)
    )


def _set(token: str) -> str:
    """Return a set of characters, as `[a-z]` and `[!a-z]`, as a regular expression has it."""
    held = token[1:-1].replace("\\", r"\\").replace("[", r"\[")
    return f"[^{held[1:]}]" if held.startswith("!") else f"[{held}]".replace("[^", r"[\^")
