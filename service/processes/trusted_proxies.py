"""The proxies whose forwarded headers are believed, in each form in which their addresses may come."""

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network

_MAPPED = "::ffff:"
_MAPPED_BITS = 96
"""Before an IPv4 address in an IPv6 one (RFC 4291, 2.5.5.2)."""


def forms_of(networks: Iterable[Network]) -> Iterator[str]:
    """Yield each network as text, and one of IPv4 also as IPv6 writes it.

    A proxy that listens on IPv6 for both names the proxy before it so (`::ffff:10.0.0.7`).
    """
    for network in networks:
        yield str(network)
        if isinstance(network, IPv4Network):
            yield f"{_MAPPED}{network.network_address}/{_MAPPED_BITS + network.prefixlen}"
