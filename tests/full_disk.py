"""A disk that is full, as far as one process can have one: no file of it grows above a size."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

MOST_BYTES = 1000


@contextmanager
def small_files() -> Iterator[int]:
    """Let no file of this process grow above so many bytes for the length of the block, and give their number."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MOST_BYTES, before[1]))
    try:
        yield MOST_BYTES
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
