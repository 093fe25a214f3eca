"""A decoder process that does what the body of each request says: `python -m tests.puppet MODE PARENT`."""

import json
import os
import signal
import socket
import sys

from service.imaging.isolated.messages import REPLY, REQUEST, Reply

READY, MUTE, WRONG = 0, 1, 2
"""What it does at its start: it says that it is ready, nothing, or something else."""


def main() -> None:
    ours = socket.socket(fileno=0)
    mode = int(sys.argv[1])
    if mode == MUTE:
        ours.recv(1)
        sys.exit(5)
    ours.sendall(REPLY.pack(Reply.COUNT if mode == WRONG else Reply.READY, 7, 9))
    while head := _read(ours, REQUEST.size):
        kind, granted, seconds, limits, target, size = REQUEST.unpack(head)
        texts = [_read(ours, length).decode() for length in (limits, target, size)]
        _obey(ours, texts[2], [kind, granted, seconds, *texts[:2]])


def _read(ours: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (piece := ours.recv(size - len(found))):
        found += piece
    return found


def _obey(ours: socket.socket, order: str, request: list[object]) -> None:
    word, _, rest = order.partition(" ")
    match word:
        case "echo":
            _text(ours, json.dumps(request))
        case "self":
            _text(ours, json.dumps([dict(os.environ), sys.argv[1:], os.getppid(), os.getsid(0)]))
        case "masked":
            _text(ours, json.dumps(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))))
        case "slowly":
            for byte in rest.encode():
                ours.sendall(bytes([byte]))
        case "half":
            ours.sendall(REPLY.pack(Reply.COUNT, 1, 2)[:5])
            sys.exit(0)
        case "exit":
            sys.exit(int(rest))
        case "signal":
            os.kill(os.getpid(), int(rest))
        case "deaf":
            ours.close()
            signal.pause()


def _text(ours: socket.socket, text: str) -> None:
    ours.sendall(REPLY.pack(Reply.REFUSED, len(text), 0) + text.encode())


if __name__ == "__main__":
    main()
