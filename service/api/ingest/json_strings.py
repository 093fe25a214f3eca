"""Where the strings of JSON are, found without a parser and in no single long step.

A regular expression over a text of 32 MiB keeps every other thread from running for an eighth of a second, and where it
finds millions of strings for seconds.
"""

QUOTE, BACKSLASH = b'"', b"\\"


def string_end(text: bytes, start: int) -> int:
    """Return where a string ends, behind its quotation mark; the end of the text where it does not.

    Args:
        text: JSON, or what is sent as such.
        start: where the string's first quotation mark is.
    """
    at = start + 1
    while (end := text.find(QUOTE, at)) >= 0:
        piece = text[at:end]
        escapes = len(piece) - len(piece.rstrip(BACKSLASH))
        if escapes % 2 == 0:
            return end + 1
        at = end + 1
    return len(text)


def without_strings(text: bytes) -> bytes:
    """Return JSON without its strings."""
    parts, at = list[bytes](), 0
    while (start := text.find(QUOTE, at)) >= 0:
        parts.append(text[at:start])
        at = string_end(text, start)
    return b"".join([*parts, text[at:]])
