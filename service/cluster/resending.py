"""Plain ASGI around Ray Serve's proxy: a request whose ingress replica died before it answered goes to another one."""

import asyncio
import logging
from collections.abc import Sequence

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger("ray.serve")

MOST_BYTES = 64 << 20
"""Of a body that is kept until the answer begins; a larger one is sent once."""
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
    """

    def __init__(self, app: ASGIApp, pauses_seconds: Sequence[float] = PAUSES_SECONDS) -> None:
        self._app = app
        self._pauses_seconds = pauses_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _may_repeat(scope):
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        for pause in self._pauses_seconds:
            answer = _Answer(send)
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
        await self._app(scope, body.receive, send)


class _Body:
    """A body that is read from the connection once, and given to each attempt from its beginning."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._kept: list[Message] = []
        self._bytes = 0
        self._next = 0
        self.can_repeat = True

    async def receive(self) -> Message:
        if self._next < len(self._kept):
            self._next += 1
            return self._kept[self._next - 1]
        message = await self._receive()
        if message["type"] != "http.request":  # the client has left
            self.can_repeat = False
            return message
        self._bytes += len(message.get("body", b""))
        if self._bytes > MOST_BYTES:
            self.can_repeat = False
            self._kept.clear()
            self._next = 0
        if self.can_repeat:
            self._kept.append(message)
            self._next = len(self._kept)
        return message

    def repeat(self) -> None:
        self._next = 0


class _Answer:
    """An answer on its way to the client; an error that the proxy itself made is held back."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: list[Message] = []
        self.began = False

    async def send(self, message: Message) -> None:
        if not self.began:
            if self._held or (message["type"] == "http.response.start" and _is_of_proxy(message)):
                self._held.append(message)
                return
            self.began = True
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
