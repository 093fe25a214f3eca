"""What several commands print: models that are found, on a console that is wide enough."""

import sys

from rich.console import Console

from service.storage.storage import Found, ModelStorage


def found_in(storage: ModelStorage) -> Found:
    """Return what can be served and what can not, as it lies there now."""
    storage.refresh()
    return storage.scan()


def wide_console() -> Console:
    """Return the console of a command. Away from a terminal Rich assumes 80 columns and would fold every row."""
    return Console() if sys.stdout.isatty() else Console(width=160)
