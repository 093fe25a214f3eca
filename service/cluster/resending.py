"""Plain ASGI around Ray Serve's proxy: a request whose ingress replica died before it answered goes to another one."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("ray.serve")

MOST_BYTES = 64 << 20
"""Of a body that is kept until the answer begins; a larger one is sent once."""
MOST_KEPT_BYTES = 256 << 20
"""Of all bodies that a proxy keeps; one that does not fit beside the others is sent once."""
PAUSES_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Before each further attempt."""
SERVER_ERROR = 500


def middlewares() -> list[Middleware]:
    """Return what stands around the proxy; Ray Serve calls this by its name, see `prepare_environment`."""
    return [Middleware(Resending)]


class Resending:
    """Sends a request again where nothing of an answer came, and the proxy would have answered 500 in its own words.

    The service's own answers bear `Server-Timing`, errors too. Calls that change the models are sent once.

    Args:
        app: Ray Serve's proxy.
        pauses_seconds: before each further attempt.
        most_kept_bytes: that the bodies of all requests may have which could be sent again.
    """

    def __init__(
        self,
        app: ASGIApp,
        pauses_seconds: Sequence[float] = PAUSES_SECONDS,
        most_kept_bytes: int = MOST_KEPT_BYTES,
    ) -> None:
        self._app = app
        self._pauses_seconds = pauses_seconds
        self._room = _Room(most_kept_bytes)

    @property
    def kept_bytes(self) -> int:
        """How many bytes of bodies are kept now."""
        return self._room.held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_repeat(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._room)
        try:
            await self._attempts(scope, body, send)
        finally:
            body.close()

    async def _attempts(self, scope: Scope, body: "_Body", send: Send) -> None:
        for pause in self._pauses_seconds:
            answer = _Answer(send, on_begin=body.give_up)
            await self._app(dict(scope), body.receive, answer.send)
            if answer.began:
                return
            if not body.can_repeat:
                await answer.release()
                return
            log.warning(
                "%s %s was lost with its replica, and is sent again", scope["method"], scope["path"]
            )
            await asyncio.sleep(pause)
            body.repeat()
        body.give_up()
        await self._app(scope, body.receive, send)


class _Room:
    """The bytes that all bodies hold together; everything runs on one event loop."""

    def __init__(self, most: int) -> None:
        self.held = 0
        self._most = most

    def take(self, size: int) -> bool:
        """Hold so many more bytes, and return whether there was room for them."""
        if self.held + size > self._most:
            return False
        self.held += size
        return True


class _Body:
    """A body that is read from the connection once, and given to each attempt from its beginning."""

    def __init__(self, receive: Receive, room: _Room) -> None:
        self._receive = receive
        self._room = room
        self._kept: list[Message] = []
        self._bytes = 0
        self._next = 0
        self.can_repeat = True

    async def receive(self) -> Message:
        if self._next < len(self._kept):
            self._next += 1
            message = self._kept[self._next - 1]
            if not self.can_repeat:
                self._drop()
            return message
        message = await self._receive()
        if message["type"] != "http.request":  # the client has left
            self.give_up()
            return message
        size = len(message.get("body", b""))
        if self.can_repeat and self._bytes + size <= MOST_BYTES and self._room.take(size):
            self._bytes += size
            self._kept.append(message)
            self._next = len(self._kept)
        else:
            self.give_up()
        return message

    def give_up(self) -> None:
        """Keep no more of it than the present attempt has still to read: it can not be sent again."""
        self.can_repeat = False
        self._drop()

    def close(self) -> None:
        """Keep nothing of it."""
        self._next = len(self._kept)
        self.give_up()

    def _drop(self) -> None:
        """Forget what the present attempt has read."""
        size = sum(len(message.get("body", b"")) for message in self._kept[: self._next])
        del self._kept[: self._next]
        self._next = 0
        self._bytes -= size
        self._room.held -= size

    def repeat(self) -> None:
        self._next = 0


class _Answer:
    """An answer on its way to the client; an error that the proxy itself made is held back."""

    def __init__(self, send: Send, on_begin: Callable[[], None]) -> None:
        self._send = send
        self._on_begin = on_begin
        self._held: list[Message] = []
        self.began = False

    async def send(self, message: Message) -> None:
        if not self.began:
            if self._held or (message["type"] == "http.response.start" and _is_of_proxy(message)):
                self._held.append(message)
                return
            self.began = True
            self._on_begin()
        await self._send(message)

    async def release(self) -> None:
        """Let the client have what was held back."""
        for message in self._held:
            await self._send(message)


def _is_of_proxy(message: Message) -> bool:
    names = {bytes(name).lower() for name, _ in message.get("headers", ())}
    return bool(message["status"] == SERVER_ERROR and b"server-timing" not in names)


def _may_repeat(scope: Scope) -> bool:
    path = str(scope["path"])
    return scope["method"] in {"GET", "HEAD", "POST"} and not path.startswith("/v1/admin")
