"""How JSON begins, as its first bytes tell it from an image."""

import codecs
import string

UTF16_STARTS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_STARTS = (
    *(bytes([one]) for one in b'{["' + string.whitespace.encode() + codecs.BOM_UTF8[:1]),
    *UTF16_STARTS,
)


def may_begin_json(head: bytes) -> bool:
    """Return whether JSON can begin so: with a value, white space or a byte-order mark."""
    return head.startswith(_STARTS)
