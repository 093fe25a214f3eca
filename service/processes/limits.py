"""What a client may send outside the bodies of its requests, and how long it may take."""

from dataclasses import dataclass

HEAD_BYTES = 64 * 1024
HEAD_SECONDS = 10.0
MOST_WAITING = 4
IDLE_SECONDS = 75.0
"""Longer than the idle time of common proxies, so that the proxy closes a connection and not this server."""
WRITE_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a client may send outside a body.

    Attributes:
        head_bytes: of a head, and of all that frames a body beyond its own length: chunk sizes, extensions, trailers.
        head_seconds: from the first byte of a head to its last.
        waiting: requests that wait for the answer before theirs; no more is read meanwhile.
        write_seconds: how long a client may read nothing of its answer.
        idle_seconds: how long a connection may wait for its next request.
        connections: that are open at once; above it one that is idle is closed, or the new one refused. 0: any number.
    """

    head_bytes: int = HEAD_BYTES
    head_seconds: float = HEAD_SECONDS
    waiting: int = MOST_WAITING
    write_seconds: float = WRITE_SECONDS
    idle_seconds: float = IDLE_SECONDS
    connections: int = 0
