"""What the outputs of requests hold together until their answers start, bounded."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.errors import OverloadedError


class OutputRoom:
    """Admits requests while their outputs fit together; one that is alone is always admitted.

    Everything runs on the event loop.

    Args:
        limit: bytes of the outputs of all requests.
    """

    def __init__(self, limit: int) -> None:
        self.bytes = 0
        self._limit = limit

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Hold so many bytes while the block runs.

        Raises:
            OverloadedError: others hold too much.
        """
        if self.bytes and self.bytes + size > self._limit:
            raise OverloadedError(
                f"The outputs of requests hold {self.bytes / 2**20:.0f} MiB, and {size / 2**20:.0f} MiB more do not "
                f"fit into the {self._limit / 2**20:g} MiB allowed. Try again in a moment."
            )
        self.bytes += size
        try:
            yield
        finally:
            self.bytes -= size
