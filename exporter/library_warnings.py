"""The warnings and log lines of conversion libraries, which a user of the exporter can do nothing about."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ignore_library_warnings() -> Iterator[None]:
    """Suppress all warnings and log messages up to level WARNING until the block ends."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
