"""The last connections of a listening socket, before it is closed.

A connection that a client has opened and the service has not accepted is reset when the socket closes. The kernel opens
connections until the very moment of the close, and processes that share the socket close it one after the other. So on
Linux the socket first ignores clients that begin to connect. Then it is emptied, and closed.
"""

import asyncio
import ctypes
import socket
import struct
import sys
from collections.abc import Iterator
from ipaddress import ip_address

HANDSHAKE_SECONDS = 0.25
"""How long a handshake may take that has begun before: one round trip, between continents too."""
LOCAL_HANDSHAKE_SECONDS = 0.02
"""The same where only clients of this machine can connect."""

_FAMILIES = (socket.AF_INET, socket.AF_INET6)
_SO_ATTACH_FILTER = 26  # Linux, asm-generic/socket.h; Python does not name it
_FLAGS = 13
"""Where the flags are in a TCP header (RFC 9293, 3.1); a filter of a TCP socket sees a packet from there on."""
_SYN = 0x02
# Classic BPF (linux/filter.h): operation, how far to jump if true and if false, operand.
_DROP_SYN = (
    (0x30, 0, 0, _FLAGS),  # load the byte of the flags
    (0x45, 0, 1, _SYN),  # is there a SYN among them?
    (0x06, 0, 0, 0),  # drop the packet
    (0x06, 0, 0, 0xFFFFFFFF),  # keep all of it
)


def begin_no_more(listener: socket.socket) -> bool:
    """Ignore clients that begin to connect, in every process that shares the socket; return whether the system can.

    A handshake that has begun is completed. Who begins one later tries again by itself after a second, and learns then
    that the socket is closed.
    """
    if not sys.platform.startswith("linux") or listener.family not in _FAMILIES:
        return False
    program = b"".join(struct.pack("HBBI", *one) for one in _DROP_SYN)
    held = ctypes.create_string_buffer(program, len(program))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET,
            _SO_ATTACH_FILTER,
            struct.pack("HP", len(_DROP_SYN), ctypes.addressof(held)),
        )
    except OSError:  # a kernel or a sandbox without filters
        return False
    return True


async def no_more_to_come(listeners: list[socket.socket]) -> None:
    """Return when hardly any connection is opened on these sockets any more; accept what is opened until then.

    Where the system can not ignore clients, the kernel opens at most one more on its own.
    """
    seconds = 0.0
    for listener in listeners:
        if begin_no_more(listener):
            seconds = max(seconds, _round_trip_seconds(listener))
        else:
            listener.listen(0)
    await asyncio.sleep(seconds)


def _round_trip_seconds(listener: socket.socket) -> float:
    is_local = ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback
    return LOCAL_HANDSHAKE_SECONDS if is_local else HANDSHAKE_SECONDS


def accept_all(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield the connections that only the kernel has accepted: closing the socket would reset them.

    Those for which no file descriptor is left are not among them.
    """
    listener.settimeout(0)
    while True:
        try:
            connection, _ = listener.accept()
        except ConnectionAbortedError:
            continue
        except OSError:  # there is none, or it can not be accepted
            return
        yield connection
