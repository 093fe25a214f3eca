"""So many requests a time, and the headers that say so."""

import re
from pathlib import Path

import httpx
import pytest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.guards.counters import Counters
from service.api.guards.rate_limit import RateLimitGuard, by_address, parse_rate
from service.api.record import RECORD_KEY, RequestRecord
from service.app import create_app
from service.engine import Engine
from service.errors import ConfigurationError
from service.settings import Settings
from tests.keys import bearer, write_keys
from tests.live import problem

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def answer_ok(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200})
    await send({"type": "http.response.body"})


async def receive_nothing() -> Message:
    raise AssertionError("nothing is sent to it")


class Caller:
    """Sends requests through a guard, from any address."""

    def __init__(self, rate: str, counters: Counters) -> None:
        self.guard = RateLimitGuard(answer_ok, parse_rate("address", rate), by_address, counters)

    async def __call__(
        self, address: str = "10.0.0.1", path: str = "/v1/classify"
    ) -> httpx.Response:
        sent: list[Message] = []

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Scope = {"type": "http", "path": path, "client": (address, 1), "headers": []}
        scope[RECORD_KEY] = RequestRecord("id")
        await self.guard(scope, receive_nothing, send)
        return httpx.Response(
            sent[0]["status"], headers=sent[0].get("headers", []), content=sent[1].get("body", b"")
        )


async def test_so_many_pass_and_the_next_answer_states_when() -> None:
    clock = Clock()
    call = Caller("3/10 seconds", Counters(clock))
    left = [(await call()).headers["ratelimit"] for _ in range(3)]
    assert left == ['"address-10s";r=2;t=0', '"address-10s";r=1;t=0', '"address-10s";r=0;t=11']
    refused = await call()
    assert refused.status_code == 429
    assert refused.json()["code"] == "rate_limited"
    assert refused.headers["ratelimit-policy"] == '"address-10s";q=3;w=10'
    assert refused.headers["retry-after"] == "11"
    assert (await call("10.0.0.2")).status_code == 200


@pytest.mark.parametrize(
    "rate", ["1/second", "3/10 seconds", "7/minute", "100/minute", "1000/hour"]
)
async def test_a_client_that_waits_as_stated_always_gets_through(rate: str) -> None:
    clock = Clock()
    call = Caller(rate, Counters(clock))
    waited = 0
    for _ in range(3000):
        answer = await call()
        if answer.status_code == 429:
            clock.now += int(answer.headers["retry-after"])
            waited += 1
            assert (await call()).status_code == 200
    assert waited


async def test_no_window_of_time_lets_more_than_the_limit_and_what_the_estimate_errs() -> None:
    """The last window is taken as evenly spread; so the worst case is below twice the limit, and evenly it is exact."""
    clock = Clock()
    call = Caller("10/10 seconds", Counters(clock))
    passed = []
    for _ in range(1000):
        clock.now += 0.1
        if (await call()).status_code == 200:
            passed.append(clock.now)
    most = max(sum(start <= one < start + 10 for one in passed) for start in passed)
    assert most <= 20
    assert 95 <= len(passed) <= 110


async def test_of_several_limits_each_holds() -> None:
    clock = Clock()
    call = Caller("2/second; 3/minute", Counters(clock))
    assert [(await call()).status_code for _ in range(3)] == [200, 200, 429]
    clock.now += 5
    assert [(await call()).status_code for _ in range(2)] == [200, 429]
    answer = await call()
    assert int(answer.headers["retry-after"]) > 2
    assert answer.headers["ratelimit-policy"] == '"address-1s";q=2;w=1, "address-60s";q=3;w=60'


@pytest.mark.parametrize("path", ["/", "/docs", "/health/ready", "/playground/script/main.js"])
async def test_pages_and_health_are_not_counted(path: str) -> None:
    call = Caller("1/hour", Counters(Clock()))
    for _ in range(3):
        answer = await call(path=path)
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers


async def test_a_flood_of_addresses_does_not_grow_the_counters() -> None:
    counters = Counters(Clock(), most=100)
    call = Caller("1/hour", counters)
    for number in range(1000):
        assert (await call(f"10.0.{number // 256}.{number % 256}")).status_code == 200
    assert counters.reset() == 100


@pytest.mark.parametrize("text", ["ten a day", "0/second", "5", "5/fortnight", "-1/second"])
def test_a_rate_that_is_none_stops_the_start(text: str) -> None:
    with pytest.raises(ConfigurationError, match="FOVEAL_RATE_LIMIT_PER_KEY"):
        parse_rate("key", text)


def app_with(tmp_path: Path, **settings: object) -> ASGIApp:
    keys = write_keys(tmp_path / "keys.toml")
    chosen = Settings.model_validate({"models": tmp_path, "keys": keys, **settings})
    return create_app(Engine(chosen), chosen)


async def test_each_key_has_a_limit_of_its_own_and_what_is_refused_at_the_door_counts_for_none(
    tmp_path: Path,
) -> None:
    app = app_with(tmp_path, rate_limit_per_key="2/hour")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as http:
        ada = [await http.get("/v1/models", headers=bearer("ada")) for _ in range(3)]
        bob = await http.get("/v1/models", headers=bearer("bob"))
        nobody = [await http.get("/v1/models") for _ in range(5)]
    assert [one.status_code for one in ada] == [200, 200, 429]
    assert re.fullmatch(r'"key-3600s";r=0;t=\d+', ada[-1].headers["ratelimit"])
    problem(ada[-1], 429, "rate_limited")
    assert bob.status_code == 200
    assert {one.status_code for one in nobody} == {401}


async def test_guesses_of_keys_are_limited_by_address(tmp_path: Path) -> None:
    app = app_with(tmp_path, rate_limit_per_address="3/hour")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as http:
        guesses = [
            await http.get("/v1/models", headers={"X-API-Key": f"guess {n}"}) for n in range(5)
        ]
    assert [one.status_code for one in guesses] == [401, 401, 401, 429, 429]
    assert "ratelimit" in guesses[0].headers
