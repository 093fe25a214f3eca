"""The main function of a video's process: it decodes one video, and can do nothing else.

    python -m service.video.isolated.process MEMORY_BYTES PARENT

Its standard input is the socket to the service, from which it has the file, too.
"""

import contextlib
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module

from PIL import Image

from service.errors import ImageError, VideoError
from service.imaging.isolated.child import NO_MEMORY_CODE
from service.imaging.isolated.messages import REPLY
from service.imaging.isolated.process import STRIP_BYTES, die_with, seal
from service.imaging.libtiff_words import silence_libtiff
from service.video.isolated.messages import (
    ASK,
    MOST_READ,
    MOST_TEXT,
    Answer,
    Ask,
    Shown,
    read_wanted,
    refusal_text,
    told_text,
)
from service.video.opening import AnyClip, AnyFrame, open_clip

_LOADED_LATE = ("numpy.ma", "av.subtitles.codeccontext", "av.subtitles.stream")
"""Modules that others import inside functions, when no file can be opened any more."""


class ServiceLeftError(Exception):
    """The service has closed its socket: nobody wants the video."""


class Line:
    """The socket to the service.

    Args:
        connection: the socket.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")

    def say(self, kind: Answer, first: int = 0, second: int = 0, text: bytes = b"") -> None:
        """Send an answer, or ask for a part of the file."""
        self._connection.sendall(REPLY.pack(kind, first, second) + text)

    def tell(self, kind: Answer, text: bytes) -> None:
        """Send an answer with a text."""
        self.say(kind, len(text), 0, text)

    def send(self, pixels: bytes) -> None:
        """Send a part of a frame's rows."""
        self._connection.sendall(pixels)

    def hear(self) -> tuple[Ask, int]:
        """Wait for what the service asks next.

        Raises:
            ServiceLeftError: nothing.
        """
        kind, number = ASK.unpack(self.take(ASK.size))
        return Ask(kind), number

    def take(self, size: int) -> bytes:
        """Return so many bytes of what the service sends.

        Raises:
            ServiceLeftError: it sends fewer.
        """
        found = self._reader.read(size)
        if len(found) < size:
            raise ServiceLeftError
        return found


class RemoteSource:
    """The file, which the service has; its reads may block there until more bytes have arrived.

    Args:
        line: to the service.
    """

    def __init__(self, line: Line) -> None:
        self._line = line
        self._position = 0

    def read(self, size: int = -1, /) -> bytes:
        """Return 1 to `size` bytes, none at the end; with a negative size, all bytes until the end."""
        if size < 0:
            return b"".join(iter(lambda: self._some(MOST_READ), b""))
        return self._some(min(size, MOST_READ)) if size else b""

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Move to an offset and return the new position."""
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            self._line.say(Answer.FIND_END)
            offset += self._line.hear()[1]
        self._position = max(0, offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def _some(self, size: int) -> bytes:
        self._line.say(Answer.READ, self._position, size)
        found = self._line.take(self._line.hear()[1])
        self._position += len(found)
        return found


class Video:
    """The video that this process decodes.

    Args:
        line: to the service.
    """

    def __init__(self, line: Line) -> None:
        self.line = line
        self.clip: AnyClip | None = None

    def decode(self) -> None:
        """Open it and send its frames, as the service asks.

        Raises:
            VideoError, ImageError: it can not be read.
            ServiceLeftError: nobody wants it any more.
        """
        self.clip = _opened(self.line)
        _show(self.line, self.clip)


def serve(connection: socket.socket, open_video: Callable[[Line], Video] = Video) -> None:
    """Decode one video, as the service asks, until it closes the socket."""
    line = Line(connection)
    line.say(Answer.READY)
    video = open_video(line)
    try:
        with contextlib.suppress(ServiceLeftError):
            video.decode()
    except MemoryError:
        os._exit(NO_MEMORY_CODE)  # at once: Python's own end would need memory too
    except (VideoError, ImageError) as error:
        line.tell(Answer.REFUSED, refusal_text(error, video.clip))
    except Exception as error:  # noqa: BLE001  # the service logs it, as it logs such errors of its own threads
        text = "".join(traceback.format_exception(error)).encode(errors="replace")
        line.tell(Answer.FAILED, text[-MOST_TEXT:])


def _opened(line: Line) -> AnyClip:
    _, length = line.hear()
    sampling, limits = read_wanted(line.take(length))
    Image.MAX_IMAGE_PIXELS = max(limits.max_pixels, Image.MAX_IMAGE_PIXELS or 0)  # as the service
    clip = open_clip(RemoteSource(line), sampling, limits)
    line.tell(Answer.OPENED, told_text(clip))
    return clip


def _show(line: Line, clip: AnyClip) -> None:
    kind, number = line.hear()
    if kind == Ask.ALLOW:
        clip.allow(number)
        line.hear()
    for frame in clip:
        _send(line, clip, frame)
        del frame
        line.hear()
    line.tell(Answer.END, told_text(clip))


def _send(line: Line, clip: AnyClip, frame: AnyFrame) -> None:
    try:
        image = frame.image()
    except (VideoError, ImageError) as error:  # the frame's own: the video goes on
        shown = Shown(frame.number, frame.seconds, frame.pixels, None, error)
        line.tell(Answer.FRAME, told_text(clip, shown))
        return
    shown = Shown(frame.number, frame.seconds, frame.pixels, image.size)
    line.tell(Answer.FRAME, told_text(clip, shown))
    for strip in _strips(image):
        line.send(strip)


def _strips(image: Image.Image) -> Iterator[bytes]:
    rows = max(1, STRIP_BYTES // (3 * image.width))
    if image.height <= rows:
        yield image.tobytes()
        return
    for top in range(0, image.height, rows):
        yield image.crop((0, top, image.width, min(top + rows, image.height))).tobytes()


def run(arguments: Sequence[str], open_video: Callable[[Line], Video] = Video) -> None:
    """Serve as a video's process with these arguments: bytes of memory, and the pid of the service."""
    memory_bytes, parent = map(int, arguments)
    die_with(parent)
    silence_libtiff()
    for module in _LOADED_LATE:
        import_module(module)
    with socket.socket(fileno=sys.stdin.fileno()) as connection:
        seal(memory_bytes)
        serve(connection, open_video)


if __name__ == "__main__":
    run(sys.argv[1:])
