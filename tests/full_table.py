"""A full table of file descriptors: the process can open no file, or few."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    """Let this process open no file for the length of the block; those that are open stay so."""
    with most_files(0):
        yield


@contextmanager
def most_files(count: int) -> Iterator[None]:
    """Let this process, and those that it starts in the block, open so many files; theirs stay as few."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
