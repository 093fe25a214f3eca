"""What a client of HTTP/1.0 does not know: interim answers, and bodies that come in chunks (RFC 9112, 6.1 and 9.2).

uvicorn sends it both: an old client then takes `100 Continue` for its answer, or the sizes of chunks for JSON.
"""

from typing import cast

from service.processes.uvicorn_parts import RequestResponseCycle


class _AnyLength:
    """In the place of the length of an answer that ends with its connection."""

    def __lt__(self, _: int) -> bool:
        return False

    def __sub__(self, _: int) -> "_AnyLength":
        return self

    def __eq__(self, _: object) -> bool:
        return True

    __hash__ = None  # type: ignore[assignment]


_ANY_LENGTH = cast(int, _AnyLength())


def answer_plainly(cycle: RequestResponseCycle) -> None:
    """Send no interim answer, and an answer of unknown length as it is; its connection closes behind it."""
    cycle.waiting_for_100_continue = False
    cycle.chunked_encoding = False
    cycle.expected_content_length = _ANY_LENGTH
