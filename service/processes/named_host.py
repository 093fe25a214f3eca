"""The host that a request names: exactly one, well formed, and the same in its target (RFC 9112, 3.2)."""

import re
from collections.abc import Sequence

from service.errors import MalformedHttpError

_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%~_-]+\]|[0-9A-Za-z._~!$&'()*+,;=%-]*)(?::[0-9]{0,5})?")
"""A name, an IPv4 address or an IPv6 address in brackets, and a port; no user, no space (RFC 3986, 3.2.2)."""
_ABSOLUTE = re.compile(rb"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)")
_USUAL_PORTS = {b"http": b":80", b"https": b":443"}


def require_host(headers: Sequence[tuple[bytes, bytes]], target: bytes, *, must: bool) -> None:
    """Refuse a request of which two programs could understand that it is for different hosts.

    Args:
        headers: with their names in lower case.
        target: of the request line.
        must: whether there must be a host, as in HTTP/1.1; it may be empty.

    Raises:
        MalformedHttpError
    """
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1:
        raise MalformedHttpError(
            f"The request has {len(hosts)} Host headers. Send one (RFC 9112, 3.2)."
        )
    if must and not hosts:
        raise MalformedHttpError("The request has no Host header. Send one (RFC 9112, 3.2).")
    host = hosts[0].strip(b" \t") if hosts else b""
    if not _HOST.fullmatch(host):
        raise MalformedHttpError(
            "The Host header is no host. Send a name or an address, and a port where it is not the usual one."
        )
    absolute = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if absolute is None:
        return
    scheme, authority = absolute[1].lower(), absolute[2]
    usual = _USUAL_PORTS.get(scheme)
    if usual is None:
        raise MalformedHttpError(
            "The target of the request is no URL of http or https. Send its path, such as /v1/classify."
        )
    if not _HOST.fullmatch(authority) or (
        hosts and _plain(authority, usual) != _plain(host, usual)
    ):
        raise MalformedHttpError(
            "The target of the request names another host than its Host header. Send the same in both."
        )


def with_path(target: bytes) -> bytes:
    """Return a target with its path: a URL without one is that of `/` (RFC 9110, 4.2.3)."""
    absolute = None if target.startswith(b"/") else _ABSOLUTE.match(target)
    if absolute is None or target[absolute.end() :].startswith((b"/", b"#")):
        return target
    return target[: absolute.end()] + b"/" + target[absolute.end() :]


def _plain(host: bytes, usual_port: bytes) -> bytes:
    return host.lower().removesuffix(usual_port).removesuffix(b":")
