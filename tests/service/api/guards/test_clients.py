"""Which client a request comes from: RFC 4291 says what an address of IPv6 means."""

import tracemalloc

import pytest

from service.api.guards.clients import address_of, client_of
from service.api.record import RECORD_KEY, RequestRecord


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("10.0.0.1", "10.0.0.2", False),
    ],
)
def test_a_network_of_ipv6_is_one_client(one: str, other: str, *, same: bool) -> None:
    addresses = [address_of({"client": (text, 1)}) for text in (one, other)]
    assert (addresses[0] == addresses[1]) == same


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("::ffff:c000:0207", "192.0.2.7"),
        ("64:ff9b::c000:207", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("2001:0DB8:0001:0003::1", "2001:db8:1:3::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ('"[2001:db8:1:2::9]:4711"', "2001:db8:1:2::/64"),
        ('"[2001:db8:1:2::9]"', "2001:db8:1:2::/64"),
        ('"192.0.2.7:4711"', "192.0.2.7"),
        ('"192.0.2.7"', "192.0.2.7"),
        ('"[testclient]:1"', '"[testclient]:1"'),
        ("testclient", "testclient"),
        ("x" * 64, "x" * 64),
        ("x" * 65, "x" * 64),
        ("192.0.2.256", "192.0.2.256"),
    ],
)
def test_an_address_has_one_name(text: str, name: str) -> None:
    assert address_of({"client": (text, 50_000)}) == name
    assert address_of({"client": [text, 1]}) == name, "the port does not count"


@pytest.mark.parametrize("scope", [{}, {"client": None}])
def test_a_connection_without_an_address_is_unknown(scope: dict[str, object]) -> None:
    assert address_of(scope) == "unknown"


def test_a_key_names_the_client_and_else_its_address() -> None:
    record = RequestRecord("id")
    scope = {"client": ("192.0.2.7", 1), RECORD_KEY: record}
    assert client_of(scope) == "192.0.2.7"
    record.client = "ada"
    assert client_of(scope) == "ada"


def test_long_names_that_a_proxy_passes_on_are_not_kept() -> None:
    tracemalloc.start()
    try:
        for number in range(300):
            address_of({"client": (f"{number}" + "x" * 60_000, 1)})
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 2_000_000
