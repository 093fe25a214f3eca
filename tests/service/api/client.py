"""A client of one request, without a server: it sends messages, and the request receives them."""

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import Request


class Client:
    """Sends a request's body when the test wants it; `request` is what an endpoint gets."""

    def __init__(self, headers: Mapping[str, str] | None = None) -> None:
        encoded = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.request = Request({"type": "http", "headers": encoded}, self._receive)
        self.received = 0

    def send(self, chunk: bytes, *, more: bool = False) -> None:
        self.deliver({"type": "http.request", "body": chunk, "more_body": more})

    def leave(self) -> None:
        self.deliver({"type": "http.disconnect"})

    def deliver(self, message: dict[str, Any]) -> None:
        self._messages.put_nowait(message)

    async def _receive(self) -> dict[str, Any]:
        message = await self._messages.get()
        self.received += 1
        return message


async def settle() -> None:
    """Let every task go on until it waits for something that only the test can bring about."""
    for _ in range(10):
        await asyncio.sleep(0)
