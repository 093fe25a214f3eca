"""The guard of names: a request must name a host that the operator listed.

It keeps pages of other sites from reaching a service in a private network under a name of their own (DNS rebinding).
"""

from collections.abc import Sequence

from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.guards.refusal import refuse
from service.errors import UnknownHostError

HEALTH = ("/health/", "/v2/health/")
"""Orchestrators ask by address."""


class HostGuard:
    """Plain ASGI: refuses a request with no `Host`, more than one, or one that is not listed.

    Args:
        app: what it guards.
        hosts: names without a port; `*.example.org` stands for all names under example.org.
    """

    def __init__(self, app: ASGIApp, hosts: Sequence[str]) -> None:
        self.app = app
        names = [one.lower().encode() for one in hosts]
        self._names = frozenset(one for one in names if not one.startswith(b"*."))
        self._endings = tuple(one[1:] for one in names if one.startswith(b"*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(HEALTH) or self._knows(scope):
            await self.app(scope, receive, send)
            return
        error = UnknownHostError(
            "The request names a host that this service does not answer for. "
            "Its operator lists them in FOVEAL_ALLOWED_HOSTS."
        )
        await refuse(error, scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"host"]
        if len(given) != 1:
            return False
        host = _name_of(given[0].strip().lower())
        return host in self._names or (
            host.endswith(self._endings) and not host.startswith(b".") if self._endings else False
        )


def _name_of(host: bytes) -> bytes:
    """`[::1]:80` → `[::1]`, `example.org:80` → `example.org`, and so is `example.org.`, the same name in full."""
    name, colon, port = host.rpartition(b":")
    return (name if colon and (port.isdigit() or not port) else host).removesuffix(b".")
