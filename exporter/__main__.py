"""`foveal-export` and `python -m exporter`: Ctrl+C ends the command without a traceback also while it is loaded."""

import signal
from importlib import import_module


def main() -> None:
    """Run the command line; until its modules are imported, Ctrl+C ends the process as the system does."""
    former = signal.getsignal(signal.SIGINT)
    if former is signal.default_int_handler:  # a shell ignores it for what runs in the background
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    command = import_module("exporter.cli")
    if former is signal.default_int_handler:
        signal.signal(signal.SIGINT, former)
    command.main()


if __name__ == "__main__":
    main()
