"""Plain ASGI around Ray Serve's proxy: a request whose ingress replica died before it answered goes to another one."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from uuid import uuid4

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.error_forms import answer_to
from service.errors import ReplicaDiedError

log = logging.getLogger("ray.serve")

MOST_BYTES = 64 << 20
"""Of a body that is kept until the answer begins; a larger one is sent once."""
MOST_KEPT_BYTES = 256 << 20
"""Of all bodies that a proxy keeps; one that does not fit beside the others is sent once."""
PAUSES_SECONDS = (0.1, 1.0)
"""Before each further attempt: after so many, a request that is what ends its replicas has ended three."""
SERVER_ERROR = 500
_CHANGES = ("/v1/admin", "/v2/repository/models/")
"""How the paths of calls that change the models begin."""


def middlewares() -> list[Middleware]:
    """Return what stands around the proxy; Ray Serve calls this by its name, see `prepare_environment`."""
    return [Middleware(Resending)]


class Resending:
    """Sends a request again where nothing of an answer came, and the proxy would have answered 500 in its own words.

    The service's own answers bear `Server-Timing`, errors too. A request whose every replica died is given up with the
    error `replica_died`, because it may be what ended them. Calls that change the models are sent once.

    Args:
        app: Ray Serve's proxy.
        pauses_seconds: before each further attempt; there are no more.
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
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = _Body(receive, self._room)
        if not _may_repeat(scope):
            body.give_up("It is one that is sent once: it may have changed what is served.")
        try:
            await self._attempts(scope, body, send)
        finally:
            body.close()

    async def _attempts(self, scope: Scope, body: "_Body", send: Send) -> None:
        for count, pause in enumerate([*self._pauses_seconds, None], 1):
            if pause is None:
                body.give_up(f"So did {count} in a row, and the request may be what ends them.")
            answer = _Answer(send, on_begin=body.give_up)
            await self._app(dict(scope), body.receive, answer.send)
            if answer.began:
                return
            request = f"{scope['method']} {scope['path']}"
            if pause is None or not body.can_repeat:
                log.error("%s was lost with its replica, and is given up: %s", request, body.reason)
                await _refuse(scope, body, answer, send)
                return
            log.warning("%s was lost with its replica, and is sent again", request)
            await asyncio.sleep(pause)
            body.repeat()


async def _refuse(scope: Scope, body: "_Body", answer: "_Answer", send: Send) -> None:
    """Answer that a request was given up, in the form of errors of its path."""
    error = ReplicaDiedError(
        f"The replica that had this request died before it answered. {body.reason}"
    )
    response = answer_to(error, scope["path"], answer.request_id)
    await response(scope, body.receive, send)


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
        self.reason = ""
        """Why it can not be sent again; empty: it can."""

    @property
    def can_repeat(self) -> bool:
        return not self.reason

    async def receive(self) -> Message:
        if self._next < len(self._kept):
            self._next += 1
            message = self._kept[self._next - 1]
            if not self.can_repeat:
                self._drop()
            return message
        message = await self._receive()
        if message["type"] != "http.request":  # the client has left
            self.give_up("The client has left.")
            return message
        size = len(message.get("body", b""))
        if self.can_repeat and self._bytes + size <= MOST_BYTES and self._room.take(size):
            self._bytes += size
            self._kept.append(message)
            self._next = len(self._kept)
        else:
            self.give_up(
                f"It is too large to be kept and sent again (more than {MOST_BYTES >> 20} MiB, or than "
                "other requests leave room for)."
            )
        return message

    def give_up(self, reason: str = "Its answer has begun.") -> None:
        """Keep no more of it than the present attempt has still to read: for this reason it can not be sent again."""
        self.reason = self.reason or reason
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

    @property
    def request_id(self) -> str:
        """The id that the proxy has given to the request; another where it has answered nothing."""
        headers = self._held[0].get("headers", ()) if self._held else ()
        found = (bytes(value) for name, value in headers if bytes(name).lower() == b"x-request-id")
        return next(found, b"").decode("latin-1") or uuid4().hex


def _is_of_proxy(message: Message) -> bool:
    names = {bytes(name).lower() for name, _ in message.get("headers", ())}
    return bool(message["status"] == SERVER_ERROR and b"server-timing" not in names)


def _may_repeat(scope: Scope) -> bool:
    path = str(scope["path"])
    return scope["method"] in {"GET", "HEAD", "POST"} and not path.startswith(_CHANGES)
