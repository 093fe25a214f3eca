"""What was measured is kept in a file of its own, so that the next start does not measure it again."""

import logging
from pathlib import Path

from service.logs import LOGGER
from service.whole_write import write_whole

log = logging.getLogger(LOGGER)


def keep(path: Path, text: str, what: str) -> None:
    """Write a file as a whole; its folder is made when needed.

    Where it can not be written, the log says that `what` is measured again.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode())
    except OSError as error:
        log.info(
            "%s is not writable (%s): %s are measured again at the next start",
            path.parent,
            error.strerror,
            what,
        )
