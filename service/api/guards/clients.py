"""Which client a request comes from, where limits are counted by client."""

import ipaddress
import re
from functools import lru_cache

from starlette.types import Scope

from service.api.record import RECORD_KEY, RequestRecord

NETWORK_BITS = 64
"""Of an IPv6 address: a household or a server has all addresses of such a network, and is one client."""
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv4 clients as a translator passes them on (RFC 6052): the last 32 bits are their address."""
LONGEST_ADDRESS = 64
"""The characters of what a proxy gives as an address; an IPv6 address has 45 at most."""
UNKNOWN = "unknown"
_QUOTED = re.compile(r'"(?:\[(?P<bracketed>[^\]]+)\]|(?P<plain>[0-9.]+))(?::\d+)?"')


def address_of(scope: Scope) -> str:
    """Return the address that a request comes from: an IPv4 address, or the /64 network of an IPv6 address."""
    client = scope.get("client")
    return _network(client[0][:LONGEST_ADDRESS]) if client else UNKNOWN


def client_of(scope: Scope) -> str:
    """Return the name of the request's key, or its address where it has none."""
    record: RequestRecord = scope[RECORD_KEY]
    return record.client or address_of(scope)


@lru_cache(4096)
def _network(text: str) -> str:
    try:
        address = ipaddress.ip_address(_without_port(text))
    except ValueError:  # a name that a proxy gave
        return text
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    if address in _TRANSLATED:
        return str(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return str(ipaddress.ip_network((int(address), NETWORK_BITS), strict=False))


def _without_port(text: str) -> str:
    """Return the address of `"[address]:port"`: some proxies write it as the header Forwarded has it (RFC 7239)."""
    found = _QUOTED.fullmatch(text)
    return (found["bracketed"] or found["plain"]) if found else text
