"""How much one client may do, and which addresses are one client, on a real socket."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.api.record import RECORD_KEY, RequestRecord
from tests.clips import bikes
from tests.keys import bearer
from tests.live import Live, problem, serve, start

CAT = (Path(__file__).parents[1] / "data" / "cat.jpg").read_bytes()


def forwarded(live: Live, address: str) -> int:
    headers = {"X-Forwarded-For": address}
    return httpx.get(f"{live.url}/v1/models", headers=headers).status_code


def test_forwarded_addresses_count_only_from_a_named_proxy(models: Path) -> None:
    limit: dict[str, Any] = {"rate_limit_per_address": "1/hour"}
    with serve(models=models, **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(3)] == [200, 429, 429]
    with serve(models=models, trusted_proxies=["127.0.0.0/8"], **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(3)] == [200, 200, 200]
        # What the client itself wrote stands before what the proxy added.
        assert forwarded(live, "1.2.3.4, 10.0.0.1") == 429
        lines = [("X-Forwarded-For", "1.2.3.4"), ("X-Forwarded-For", "10.0.0.1")]
        assert httpx.get(f"{live.url}/v1/models", headers=lines).status_code == 429
        # A second proxy names the first one; one that listens on IPv6 does so in the form of IPv6.
        for first in ("127.0.0.9", "127.0.0.9:80", "::ffff:127.0.0.9", "[::FFFF:7f00:9]:80"):
            assert forwarded(live, f"10.0.0.1, {first}") == 429
        assert forwarded(live, "10.0.0.1, ::ffff:126.0.0.9") == 200
    with serve(models=models, trusted_proxies=["192.0.2.1"], **limit) as live:
        assert [forwarded(live, f"10.0.0.{n}") for n in range(2)] == [200, 429]


def test_all_addresses_of_a_network_of_ipv6_are_one_client_also_behind_a_proxy(
    models: Path,
) -> None:
    """A server has 2**64 addresses of its own, and proxies write them with and without brackets and a port."""
    limit: dict[str, Any] = {"host": "::1", "rate_limit_per_address": "2/hour"}
    with serve(models=models, trusted_proxies=["::1"], **limit) as live:
        one_network = ("2001:db8:0:1::1", "[2001:db8:0:1::2]", "[2001:db8:0:1:ffff::3]:443")
        assert [forwarded(live, one) for one in one_network] == [200, 200, 429]
        assert forwarded(live, "2001:DB8:0000:0001:0:0:0:9") == 429
        assert forwarded(live, "2001:db8:0:2::1") == 200
        one_address = ("192.0.2.7:1000", "::ffff:192.0.2.7", "[::ffff:192.0.2.7]:1001")
        assert [forwarded(live, one) for one in one_address] == [200, 200, 429]
    with serve(models=models, **limit) as live:
        others = ("2001:db8:0:1::1", "2001:db8:0:2::1", "2001:db8:0:3::1")
        assert [forwarded(live, one) for one in others] == [200, 200, 429]


def test_each_worker_counts_a_limit_for_itself(models: Path) -> None:
    settings: dict[str, Any] = {"rate_limit_per_address": "3/hour", "workers": 2}
    with start(models=models, grace_seconds=0, **settings) as service:
        url = f"{service.url}/v1/models"
        found = [httpx.get(url).status_code for _ in range(30)]  # each on a connection of its own
        assert set(found) == {200, 429}
        assert 3 <= found.count(200) <= 6


@pytest.mark.parametrize("limit", [32, 31])
def test_a_limit_that_many_connections_reach_in_the_same_moment_is_exact(
    models: Path, limit: int
) -> None:
    together = threading.Barrier(32)

    def ask(url: str) -> int:
        with httpx.Client(base_url=url, timeout=30) as http:
            together.wait(30)
            return http.post("/v1/classify", content=CAT).status_code

    with (
        serve(models=models, rate_limit_per_address=f"{limit}/hour") as live,
        ThreadPoolExecutor(32) as clients,
    ):
        statuses = sorted(clients.map(ask, [live.url] * 32))
    assert statuses == [200] * limit + [429] * (32 - limit)


@pytest.mark.parametrize("path", ["classify", "explain?view=cam", "video"])
def test_a_client_with_its_share_of_the_queue_waits_and_another_does_not(
    models: Path, keys: Path, path: str
) -> None:
    """The share is taken from outside, as by requests that wait."""
    settings: dict[str, Any] = {
        "models": models,
        "keys": keys,
        "queue_size": 200,
        "max_fan_outs": 2,
    }
    body = bikes() if path == "video" else CAT
    with serve(queue_share=0.5, **settings) as live, httpx.Client(base_url=live.url) as http:
        record = RequestRecord("id")
        record.client = "bob"
        scope = {RECORD_KEY: record}
        shares = live.services.shares
        assert shares is not None
        with shares.images(scope, "colors", 100), shares.fan_out(scope):
            refused = http.post(f"/v1/{path}", content=body, headers=bearer("bob"))
            problem(refused, 429, "queue_share")
            assert refused.headers["retry-after"] == "1"
            other = "eve" if path.startswith("explain") else "ada"
            passed = http.post(f"/v1/{path}", content=body, headers=bearer(other))
            assert passed.status_code == 200, passed.text
        for _ in range(3):
            again = http.post(f"/v1/{path}", content=body, headers=bearer("bob"))
            assert again.status_code == 200, again.text
