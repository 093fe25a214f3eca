"""A body of the binary tensor extension: JSON, then the bytes of tensors, end to end."""

from fastapi import Request

from service.api.record import single_header_of
from service.errors import InvalidParameterError

LENGTH_HEADER = "Inference-Header-Content-Length"
_LENGTH = LENGTH_HEADER.lower().encode()
_LENGTH_BYTES = 4
_MOST_DIGITS = 18


def json_bytes(request: Request, body_bytes: int) -> int | None:
    """Return how many bytes of the body are JSON by the request's header, None where it has none.

    Raises:
        InvalidParameterError: it is not a whole number from 0 to the body's size, or there are several.
    """
    given = single_header_of(request, _LENGTH)
    if given is None:
        return None
    valid = given.isascii() and given.isdecimal() and len(given) <= _MOST_DIGITS
    if not valid or int(given) > body_bytes:
        raise InvalidParameterError(
            f"{LENGTH_HEADER} must be a whole number from 0 to the {body_bytes} bytes of the body"
        )
    return int(given)


class Tail:
    """The bytes behind the JSON, taken one tensor after the other."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = memoryview(body)[start:]

    def take(self, size: int, name: str) -> memoryview:
        """Return the next bytes.

        Raises:
            InvalidParameterError: there are fewer.
        """
        if size > len(self._body):
            raise InvalidParameterError(
                f"unexpected size for input '{name}': binary_data_size is {size}, and {len(self._body)} bytes are left"
            )
        taken, self._body = self._body[:size], self._body[size:]
        return taken

    def end(self, model: str) -> None:
        """Check that nothing is left.

        Raises:
            InvalidParameterError: bytes are left.
        """
        if len(self._body):
            raise InvalidParameterError(
                f"unexpected additional input data for model '{model}': {len(self._body)} bytes"
            )


def byte_strings(data: memoryview, count: int, name: str) -> list[bytes]:
    """Return the elements of a BYTES tensor: each is its length in four bytes, little-endian, and its bytes.

    Raises:
        InvalidParameterError: it does not hold exactly `count` of them.
    """
    found, at = list[bytes](), 0
    for _ in range(count):
        size = int.from_bytes(data[at : at + _LENGTH_BYTES], "little")
        start, end = at + _LENGTH_BYTES, at + _LENGTH_BYTES + size
        if end > len(data):
            raise InvalidParameterError(
                f"unexpected size for input '{name}': its elements go beyond its {len(data)} bytes"
            )
        found.append(bytes(data[start:end]))
        at = end
    if at != len(data):
        raise InvalidParameterError(
            f"unexpected size for input '{name}': {len(data) - at} bytes follow its {count} elements"
        )
    return found
