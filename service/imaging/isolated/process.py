"""The main function of a decoder process: it decodes one image after the other, and can do nothing else.

    python -m service.imaging.isolated.process MEMORY_BYTES PARENT

Its standard input is the socket to the service.
"""

import contextlib
import ctypes
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import AvifImagePlugin, Image

from service.card import ImageInput
from service.errors import DeadlineError, ImageError
from service.imaging.deadline import Deadline, GoOn
from service.imaging.decode import Limits, open_image
from service.imaging.isolated.child import NO_MEMORY_CODE
from service.imaging.isolated.messages import (
    MOST_TEXT,
    MOST_WORK,
    NOTE_LENGTHS,
    NOTES,
    REPLY,
    REQUEST,
    Kind,
    Reply,
    Request,
    read_limits,
    refusal,
)
from service.imaging.libtiff_words import silence_libtiff
from service.imaging.resize import fit_opened
from service.imaging.room import SMALL_PIXELS
from service.imaging.source_image import displayed_image
from service.imaging.work import announced

STANDARD_FILES = 3
STRIP_BYTES = 1 << 22
"""An image is sent in strips of about so many bytes: a copy of a whole one would be as large again."""

Parts = Iterator[bytes | memoryview]
Answer = Callable[[Request], Parts]
"""Makes a reply of a request, to be sent part by part."""

_PARENT_DEATH_SIGNAL, _NO_NEW_PRIVILEGES = 1, 38
"""Operations of prctl(2)."""


def answer(request: Request) -> Parts:
    """Decode an image.

    Raises:
        ImageError: it can not be read.
        DeadlineError: the time was over.
    """
    limits = _limits(request.limits)
    go_on = Deadline(time.perf_counter() + request.seconds, time.perf_counter)
    if request.kind == Kind.ANNOUNCED:
        pixels, work = announced(request.body, limits.formats, go_on)
        yield REPLY.pack(Reply.COUNT, pixels, min(work, MOST_WORK))
    elif request.kind == Kind.IMAGE:
        yield from _image(displayed_image(request.body, limits, go_on))
    else:
        yield from _frame(request, limits, go_on)


def _frame(request: Request, limits: Limits, go_on: GoOn) -> Parts:
    opened = open_image(request.body, limits, go_on)
    pixels = opened.held_pixels
    if pixels > max(SMALL_PIXELS, request.granted):
        yield REPLY.pack(Reply.COUNT, pixels, 0)
        return
    frame, geometry = fit_opened(opened, _target(request.target), go_on)
    yield REPLY.pack(Reply.PIXELS, geometry.width, geometry.height)
    yield np.ascontiguousarray(frame).data.cast("B")


def _image(image: Image.Image) -> Parts:
    notes = [image.info.get(name, b"") for name in NOTES]
    kept = [note if isinstance(note, bytes) else b"" for note in notes]
    yield REPLY.pack(Reply.PIXELS, image.width, image.height)
    yield b"".join((NOTE_LENGTHS.pack(*map(len, kept)), *kept))
    rows = max(1, STRIP_BYTES // (3 * image.width))
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


_limits = lru_cache(read_limits)


@lru_cache(maxsize=64)
def _target(text: bytes) -> ImageInput:
    return ImageInput.model_validate_json(text)


def serve(connection: socket.socket, answer: Answer) -> None:
    """Answer requests until the service closes the socket. A reply that has begun is whole, or the process ends."""
    with connection.makefile("rb") as reader:
        connection.sendall(REPLY.pack(Reply.READY, 0, 0))
        while (request := _read(reader)) is not None:
            _reply(connection, answer, request)


def _read(reader: BinaryIO) -> Request | None:
    head = reader.read(REQUEST.size)
    if len(head) < REQUEST.size:
        return None
    kind, granted, seconds, limits, target, body = REQUEST.unpack(head)
    allowed, text = reader.read(limits), reader.read(target)
    return Request(Kind(kind), reader.read(body), text, granted, allowed, seconds)


def _reply(connection: socket.socket, answer: Answer, request: Request) -> None:
    has_begun = False
    try:
        for part in answer(request):
            connection.sendall(part)
            has_begun = True
    except MemoryError:
        os._exit(NO_MEMORY_CODE)  # at once: Python's own end would need memory too
    except Exception as error:
        if has_begun:
            raise
        _send_error(connection, error)


def _send_error(connection: socket.socket, error: Exception) -> None:
    if isinstance(error, DeadlineError):
        connection.sendall(REPLY.pack(Reply.LATE, 0, 0))
    elif isinstance(error, ImageError):
        _send_text(connection, Reply.REFUSED, refusal(error.code, str(error)))
    else:  # the service logs it, as it logs such errors of its own threads
        text = "".join(traceback.format_exception(error)).encode(errors="replace")
        _send_text(connection, Reply.FAILED, text[-MOST_TEXT:])


def _send_text(connection: socket.socket, kind: Reply, text: bytes) -> None:
    connection.sendall(REPLY.pack(kind, len(text), 0) + text)


def seal(memory_bytes: int) -> None:
    """Take from this process what it does not need: files, sockets, privileges, and memory beyond `memory_bytes`.

    Both limits are hard ones. It has the three standard file descriptors, of which the first is the socket to the
    service, and can have no other: it opens no file and makes no connection. So what libraries load late is loaded
    before.
    """
    Image.init()
    AvifImagePlugin.DEFAULT_MAX_THREADS = (
        1  # others work beside it, and each thread takes 8 MB of addresses
    )
    _prctl(_NO_NEW_PRIVILEGES, 1)
    with contextlib.suppress(OSError):  # the kernel ends it before the service, if memory is short
        Path("/proc/self/oom_score_adj").write_text("1000")
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + memory_bytes
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)  # what libraries say of images is not logged
    os.close(nothing)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_AS, most)
    _lower(resource.RLIMIT_NOFILE, STANDARD_FILES)


def _lower(limit: int, most: int) -> None:
    """Set a limit that can not be raised again, unless it is lower already."""
    now = resource.getrlimit(limit)[1]
    value = most if now == resource.RLIM_INFINITY else min(most, now)
    resource.setrlimit(limit, (value, value))


def die_with(parent: int) -> None:
    """End this process with the thread that started it, even while it decodes."""
    _prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    if os.getppid() != parent:  # it died before
        sys.exit(1)


def _prctl(operation: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(operation, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl {operation} is not possible here")


def run(arguments: Sequence[str], answer: Answer = answer) -> None:
    """Serve as a decoder process with these arguments: bytes of memory, and the pid of the service."""
    memory_bytes, parent = map(int, arguments)
    die_with(parent)
    silence_libtiff()
    with socket.socket(fileno=sys.stdin.fileno()) as connection:
        seal(memory_bytes)
        serve(connection, answer)


if __name__ == "__main__":
    run(sys.argv[1:])
