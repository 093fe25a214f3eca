"""A decoder process that does what its image ends with: `python -m tests.bad_decoder`."""

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from service.imaging.isolated.messages import NOTE_LENGTHS, REPLY, Kind, Reply, Request
from service.imaging.isolated.process import Parts, answer, run


def allocate() -> None:
    held = []
    while True:
        held.append(bytes(1 << 20))


def fail() -> None:
    raise KeyError("a bug")


ACTS: dict[bytes, Callable[[], object]] = {
    b"segfault": lambda: ctypes.string_at(0),
    b"abort": os.abort,
    b"allocate": allocate,
    b"sleep": lambda: threading.Event().wait(),
    b"killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    b"bug": fail,
}
NO_TEXT = b'["shutting_down", "no error of an image"]'
REPLIES = {
    b"huge": REPLY.pack(Reply.PIXELS, 2**40, 2**40),
    b"large": REPLY.pack(Reply.PIXELS, 10**6, 10**6),
    b"text": REPLY.pack(Reply.REFUSED, 2**60, 0),
    b"code": REPLY.pack(Reply.REFUSED, len(NO_TEXT), 0) + NO_TEXT,
    b"count": REPLY.pack(Reply.COUNT, 2**40, 0),
}


def misbehave(request: Request) -> Parts:
    """Answer as a decoder does, unless the last line of the image is the name of something else."""
    name = request.body.rpartition(b"\n")[2]
    if name in ACTS:
        ACTS[name]()
    elif name in REPLIES:
        yield REPLIES[name]
    elif name == b"half":
        yield REPLY.pack(Reply.PIXELS, 16, 12)
        raise ValueError("the image is damaged")
    elif name == b"other" and request.kind == Kind.IMAGE:
        yield REPLY.pack(Reply.PIXELS, 1, 1) + NOTE_LENGTHS.pack(0, 0) + bytes(3)
    elif name == b"note" and request.kind == Kind.IMAGE:
        yield REPLY.pack(Reply.PIXELS, 16, 12) + NOTE_LENGTHS.pack(2**40, 0)
    elif name == b"escape":
        require_sealed()
        yield from answer(request)
    else:
        yield from answer(request)


def require_sealed() -> None:
    """Try what a decoder that was taken over would try.

    Raises:
        AssertionError: some of it was possible.
    """
    for attempt in (socket.socket, lambda: Path("/etc/passwd").read_bytes(), os.pipe):
        try:
            attempt()
        except OSError:
            continue
        raise AssertionError(f"{attempt} was possible")
    assert not [name for name in os.environ if name.startswith("FOVEAL_")]


if __name__ == "__main__":
    run(sys.argv[1:], misbehave)
