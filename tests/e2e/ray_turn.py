"""One Ray at a time on this machine: two that start together take each other's cores, and give up after minutes."""

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TURN_SECONDS = 900
"""The limit of a test that may wait for the clusters of two other files."""
_LOCK = Path(tempfile.gettempdir()) / "foveal-tests-ray.lock"


@contextmanager
def ray_turn() -> Iterator[None]:
    """Wait until no other process of the tests has a cluster, and hold the turn for the length of the block."""
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
