"""The guard at the door: a request needs a key with the right scope."""

import binascii
import logging
from collections.abc import Awaitable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.error_forms import X_ANYLABELING, form_of, is_under
from service.api.guards.refusal import refuse
from service.api.guards.scopes import ADMIN, OPEN, changes_models, needed_scopes
from service.api.record import RECORD_KEY, RequestRecord
from service.errors import FovealError, MissingScopeError, UnauthorizedError
from service.keys import Key, KeyRing
from service.logs import AUDIT_LOGGER, FIELDS

audit = logging.getLogger(AUDIT_LOGGER)

_CHALLENGE = b'Bearer realm="foveal"'
_LONGEST_PATH = 200
"""The characters of a path that an audit line repeats."""
_LONGEST_ADDRESS = 64
"""A proxy may pass on what a client says of itself."""


class KeyGuard:
    """Plain ASGI: passes on what needs no key, and what brings a valid key with the scope that is needed.

    It reads no byte of a body before. Every admin call and every refusal has a line in the audit log; a key is never
    logged.

    Args:
        app: what it guards.
        keys: the valid keys.
    """

    def __init__(self, app: ASGIApp, keys: KeyRing) -> None:
        self.app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        needed = needed_scopes(scope["method"], scope["path"])
        if needed is OPEN:
            await self.app(scope, receive, send)
            return
        record: RequestRecord = scope[RECORD_KEY]
        try:
            key = self._key_of(scope)
        except UnauthorizedError as error:
            await _turn_away(error, scope, receive, send, _challenge_of(scope))
            return
        record.client = key.name
        if key.scopes.isdisjoint(needed):
            scopes = " or ".join(sorted(needed))
            missing = MissingScopeError(
                f"The key {key.name} does not have the scope {scopes}, which this request needs. "
                "The operator of the service gives scopes to keys."
            )
            challenge = _CHALLENGE + b', error="insufficient_scope", scope="%s"' % b" ".join(
                sorted(one.encode() for one in needed)
            )
            await _turn_away(missing, scope, receive, send, challenge)
        elif needed is ADMIN:
            await self._audited(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _key_of(self, scope: Scope) -> Key:
        presented = presented_keys(scope)
        if not presented:
            raise UnauthorizedError(
                "This request needs an API key. Send it as `Authorization: Bearer <key>` or `X-API-Key: <key>`."
            )
        if len(presented) > 1:
            raise UnauthorizedError("The request has two different API keys. Send one.")
        key = self._keys.find(presented.pop())
        if key is None:
            raise UnauthorizedError(
                "The API key is not valid. It may be mistyped or revoked: ask the operator of the service for another."
            )
        return key

    async def _audited(self, scope: Scope, receive: Receive, send: Send) -> None:
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, send_noting)
        finally:
            _write(scope, "admin call", status)


def no_admin_guard(app: ASGIApp) -> ASGIApp:
    """Return plain ASGI for a service without keys: it refuses admin calls and passes on everything else.

    It is a plain function that returns what is awaited: every request passes it, and an object with a coroutine costs
    three times as much.
    """

    def guard(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "http" and changes_models(scope["method"], scope["path"]):
            error = UnauthorizedError(
                "Admin calls need an API key with the scope admin, and this service has no keys. "
                "Its operator sets them with FOVEAL_KEYS."
            )
            return _turn_away(error, scope, receive, send, _CHALLENGE)
        return app(scope, receive, send)

    return guard


def presented_keys(scope: Scope) -> set[bytes]:
    """Return the different keys that a request brings.

    Clients of other protocols can not choose their headers: they may also send the key as the password of HTTP Basic,
    with any user name, and X-AnyLabeling as `Token`. Elsewhere passwords do not count: a browser sends those that it
    knows with the requests of any page.
    """
    found = set()
    for name, value in scope["headers"]:
        if name == b"x-api-key":
            found.add(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.add(value[7:].strip())
        elif name == b"authorization" and value[:6].lower() == b"basic " and form_of(scope["path"]):
            found.update(_password(value[6:]))
        elif name == b"token" and value.strip() and is_under(scope["path"], X_ANYLABELING):
            found.add(value.strip())
    return found


def _password(credentials: bytes) -> list[bytes]:
    """Return the password of HTTP Basic, or the user name where there is no password; nothing if there is neither."""
    try:
        user, _, password = binascii.a2b_base64(credentials.strip()).partition(b":")
    except binascii.Error:
        return []
    return [password or user] if password or user else []


def _challenge_of(scope: Scope) -> bytes:
    return _CHALLENGE + (b', error="invalid_token"' if presented_keys(scope) else b"")


async def _turn_away(
    error: FovealError, scope: Scope, receive: Receive, send: Send, challenge: bytes
) -> None:
    await refuse(error, scope, receive, send, [(b"www-authenticate", challenge)])
    _write(scope, f"refused: {error.code}", error.status)


def _write(scope: Scope, what: str, status: int) -> None:
    record: RequestRecord = scope[RECORD_KEY]
    client = scope.get("client")
    fields = {
        "key": record.client,
        "address": client[0][:_LONGEST_ADDRESS] if client else "",
        "status": status,
        "request_id": record.request_id,
    }
    path = scope["path"][:_LONGEST_PATH]
    audit.info("%s: %s %s", what, scope["method"], path, extra={FIELDS: fields})
