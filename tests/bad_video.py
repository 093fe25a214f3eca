"""A video's process that does what the last line of its file says: `python -m tests.bad_video`."""

import json
import sys

from service.imaging.isolated.messages import REPLY
from service.video.isolated.messages import Answer
from service.video.isolated.process import Line, RemoteSource, Video, run
from tests.bad_decoder import ACTS, require_sealed

INFO = {
    "container": "avi", "codec": "mjpeg", "width": 4, "height": 2, "rotation": 0,
    "fps": 10.0, "seconds": 1.0, "expected": 3,
}  # fmt: skip
TOLD = {
    "counts": {"decoded": 1, "sampled": 1, "skipped": 0}, "ended": "complete", "detail": "",
    "info": INFO, "pixels": 8, "kept": None, "frame": None,
}  # fmt: skip
SHOWN = {"number": 0, "seconds": 0.0, "pixels": 8, "size": [4, 2], "error": None}
OTHER_ERROR = ["shutting_down", "no error of a video"]


def told(kind: Answer, said: object) -> bytes:
    text = json.dumps(said).encode()
    return REPLY.pack(kind, len(text), 0) + text


OPENED = told(Answer.OPENED, TOLD)
SAYS = {
    "kind": REPLY.pack(99, 0, 0),
    "end": told(Answer.END, TOLD),
    "text": REPLY.pack(Answer.OPENED, 2**60, 0),
    "far": REPLY.pack(Answer.READ, 2**63, 10),
    "much": REPLY.pack(Answer.READ, 0, 2**40),
    "nothing": REPLY.pack(Answer.READ, 0, 0),
    "list": told(Answer.OPENED, [1, 2]),
    "deep": REPLY.pack(Answer.OPENED, 60_000, 0) + b"[" * 60_000,
    "words": REPLY.pack(Answer.OPENED, 4, 0) + b"\xff\xfe{}",
    "counts": told(Answer.OPENED, {**TOLD, "counts": {"decoded": -1, "sampled": 0, "skipped": 0}}),
    "ended": told(Answer.OPENED, {**TOLD, "ended": "well"}),
    "name": told(Answer.OPENED, {**TOLD, "info": {**INFO, "codec": "x" * 200}}),
    "seconds": told(Answer.OPENED, {**TOLD, "info": {**INFO, "seconds": float("inf")}}),
    "error": told(Answer.REFUSED, {"error": OTHER_ERROR, "counts": TOLD["counts"]}),
    "refused": told(Answer.REFUSED, {"error": 1}),
}
SHOWS = {
    "large": {**SHOWN, "size": [2**20, 2**20]},
    "flat": {**SHOWN, "size": [0, 2]},
    "three": {**SHOWN, "size": [1, 1, 3]},
    "fraction": {**SHOWN, "number": 0.5},
    "early": {**SHOWN, "seconds": float("-inf")},
    "own error": {**SHOWN, "error": OTHER_ERROR},
    "no frame": None,
}


class BadVideo(Video):
    """Does what a video's process does not."""

    def decode(self) -> None:
        line = self.line
        _, length = line.hear()
        line.take(length)
        name = RemoteSource(line).read().rpartition(b"\n")[2]
        word = name.decode(errors="replace")
        if name in ACTS:
            ACTS[name]()
        elif word in SAYS:
            line.send(SAYS[word])
        elif word == "escape":
            _escape(line)
        elif word == "again":
            _read_for_ever(line)
        else:
            line.send(OPENED)
            _show(line, word)
        line.hear()


def _show(line: Line, word: str) -> None:
    first, _, act = word.partition(" then ")
    line.hear()
    if first in SHOWS:
        line.send(told(Answer.FRAME, {**TOLD, "frame": SHOWS[first]}))
        return
    line.send(told(Answer.FRAME, {**TOLD, "frame": SHOWN}) + bytes(24))
    line.hear()
    if act.encode() in ACTS:
        ACTS[act.encode()]()
    while True:  # more frames than are allowed
        line.send(told(Answer.FRAME, {**TOLD, "frame": SHOWN}) + bytes(24))
        line.hear()


def _read_for_ever(line: Line) -> None:
    """Read the same again and again, as a demuxer that was led in a circle does."""
    source = RemoteSource(line)
    while True:
        source.seek(0)
        source.read(10)


def _escape(line: Line) -> None:
    """Say that the file is a video only if nothing is possible that a decoder which was taken over would try."""
    require_sealed()
    line.send(OPENED)
    line.hear()
    line.send(told(Answer.END, TOLD))


if __name__ == "__main__":
    run(sys.argv[1:], BadVideo)
