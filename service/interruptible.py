"""A command whose modules take a while to import: Ctrl+C ends it without a traceback meanwhile too."""

import signal
from importlib import import_module


def run_command(module: str) -> None:
    """Import a module and run its `main()`; until it is imported, Ctrl+C ends the process as the system does."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:  # a shell ignores it for what runs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = import_module(module)
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, former)
    command.main()
