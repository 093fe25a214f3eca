"""Standard streams that were closed before the start."""

import os
import sys

STREAMS = {0: "stdin", 1: "stdout", 2: "stderr"}


def open_closed_streams() -> None:
    """Lead the standard streams that are closed to the null device.

    What is written to them then fails nowhere, and no file or connection that is opened later gets their descriptor.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) in STREAMS:
        os.set_inheritable(descriptor, True)  # noqa: FBT003 # a function of C
    os.close(descriptor)
    for descriptor, name in STREAMS.items():
        if getattr(sys, name) is None:
            mode = "r" if descriptor == 0 else "w"
            stream = open(descriptor, mode, closefd=False, errors="backslashreplace")  # noqa: SIM115 # as long as the process
            setattr(sys, name, stream)
