"""The Python client against a running service: the same figures as plain HTTP, its errors and its retries."""

import contextlib
import os
import struct
import threading
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from foveal_client import Answer, AsyncClient, Client, FovealError
from foveal_client.bodies import PIECE_BYTES
from foveal_client.types import Image

from tests.clips import bikes
from tests.live import Live, serve

ROOT = Path(__file__).parents[2]
CAT = ROOT / "tests" / "data" / "cat.jpg"
CUP = ROOT / "service" / "playground" / "samples" / "cup.jpg"
DIGITS = ROOT / "service" / "playground" / "samples" / "digits.jpg"
NO_IMAGE = b"not an image"
RATE = 3

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    with serve() as service:
        yield service


@pytest.fixture
def client(live: Live) -> Iterator[Client]:
    with Client(live.url) as one:
        yield one


@pytest.fixture
async def asking(live: Live) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(live.url) as one:
        yield one


def plain(live: Live, path: str, image: Path, **params: Any) -> httpx.Response:
    """Post an image without the client."""
    url, body = f"{live.url}{path}", image.read_bytes()
    return httpx.post(url, params=params, content=body, timeout=60).raise_for_status()


def compare(live: Live, task: str, answer: Answer[Any], **params: Any) -> None:
    wanted = plain(live, f"/v1/{task}", CAT, **params).json()
    assert (answer.model, answer.version) == (wanted["model"], wanted["version"])
    assert [answer.result] == wanted["results"]
    assert answer.request_id


def test_answers_are_those_of_plain_http(live: Live, client: Client) -> None:
    compare(live, "classify", client.classify(CAT, top_k=2), top_k=2)
    compare(live, "detect", client.detect(str(CAT), classes=["cat", "dog"]), classes="cat,dog")
    compare(live, "segment", client.segment(CAT.read_bytes(), polygons=True), polygons=True)
    compare(live, "embed", client.embed(CAT, model="lenet5"), model="lenet5")


async def test_those_of_asyncio_are_too(live: Live, asking: AsyncClient) -> None:
    compare(live, "classify", await asking.classify(CAT, top_k=2), top_k=2)
    compare(live, "detect", await asking.detect(str(CAT), nms="soft"), nms="soft")
    compare(live, "segment", await asking.segment(CAT.read_bytes()))
    compare(live, "embed", await asking.embed(CAT, model="lenet5"), model="lenet5")


async def test_images_explanations_and_models(
    live: Live, client: Client, asking: AsyncClient
) -> None:
    overlay = plain(live, "/v1/detect", CUP, format="overlay").content
    assert client.draw("detect", CUP) == await asking.draw("detect", CUP) == overlay
    mask = plain(live, "/v1/segment", CUP, format="mask", model="u2netp").content
    assert client.draw("segment", CUP, "mask", model="u2netp") == mask
    cam = plain(live, "/v1/explain", CUP, view="cam", **{"class": "tiger cat"}).json()
    assert client.explain(CUP, view="cam", class_="tiger cat") == cam
    target = (await asking.explain(CUP, view="cam", class_="tiger cat"))["target"]
    assert target == cam["target"]
    filters = plain(live, "/v1/explain", CUP, view="filters").json()["filters"]
    assert [one["norm"] for one in client.explain(CUP, view="filters")["filters"]] == [
        one["norm"] for one in filters
    ]
    names = {model["name"] for model in client.models()["models"]}
    assert {"efficientnet-lite0", "u2netp"} <= names
    assert names == {model["name"] for model in (await asking.models())["models"]}


async def test_a_chain_reads_what_it_finds(live: Live, client: Client, asking: AsyncClient) -> None:
    wanted = plain(live, "/v1/chain", DIGITS, model="digits").json()
    for answer in (client.chain(DIGITS, model="digits"), await asking.chain(DIGITS.read_bytes())):
        assert (answer.chain, answer.steps) == (wanted["chain"], wanted["steps"])
        assert [answer.result] == wanted["results"]
        assert answer.request_id
    read = [box["answers"]["read"]["result"]["predictions"][0] for box in answer.result["boxes"]]
    assert sorted(one["label"] for one in read) == ["3", "5", "9"]
    with pytest.raises(FovealError) as refused:
        client.chain(DIGITS, model="nobody")
    assert (refused.value.status, refused.value.code) == (404, "unknown_model")


async def test_a_videos_file_is_sent_as_it_is_read(
    tmp_path: Path, client: Client, asking: AsyncClient
) -> None:
    video = tmp_path / "bikes.mp4"
    video.write_bytes(bikes() + free_box(3 * PIECE_BYTES))
    whole = list(client.video(video.read_bytes(), task="classify", fps=2))
    assert list(client.video(video, task="classify", fps=2)) == whole
    assert [event async for event in asking.video(str(video), task="classify", fps=2)] == whole
    read = Receipts()
    with Client("http://x", transport=read) as one:
        assert [event["event"] for event in one.video(video)] == ["summary"]
    later = Receipts()
    async with AsyncClient("http://x", transport=later) as other:
        assert [event["event"] async for event in other.video(video)] == ["summary"]
    # A first attempt is answered 503; the second one sends the file from its begin.
    for receipts in (read, later):
        assert b"".join(receipts.pieces) == 2 * video.read_bytes()
        assert max(map(len, receipts.pieces)) <= PIECE_BYTES
        assert receipts.lengths == [str(video.stat().st_size)] * 2


async def test_a_pipe_is_read_once_and_sent_with_each_attempt(tmp_path: Path) -> None:
    pipe = tmp_path / "video"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(NO_IMAGE,))
    writer.start()
    receipts = Receipts()
    with Client("http://x", transport=receipts) as one:
        list(one.video(pipe))
    writer.join()
    assert receipts.pieces == [NO_IMAGE, NO_IMAGE]


async def test_a_videos_events_come_one_by_one(client: Client, asking: AsyncClient) -> None:
    events = list(client.video(bikes(), task="detect", fps=2))
    start, *frames, summary = events
    assert start["event"] == "start"
    assert start["task"] == "detect"
    assert summary["event"] == "summary"
    assert len(frames) == summary["counts"]["sampled"]
    for frame in frames:
        assert frame["event"] == "frame"
        assert all(one["track"] for one in frame["detections"])
    same = [event async for event in asking.video(bikes(), task="detect", fps=2)]
    assert same == events
    some = client.video(bikes(), task="classify")
    assert next(some)["event"] == "start"
    with contextlib.closing(some):  # type: ignore[type-var]
        assert next(some)["event"] == "frame"


async def test_an_error_has_its_code_detail_and_request(
    live: Live, client: Client, asking: AsyncClient
) -> None:
    with pytest.raises(FovealError, match=r"^unsupported_image: .+ \(request ") as refused:
        client.classify(NO_IMAGE)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_image")
    assert refused.value.request_id
    with pytest.raises(FovealError) as refused:
        await asking.classify(CAT, model="nobody")
    assert (refused.value.status, refused.value.code) == (404, "unknown_model")
    with pytest.raises(FovealError) as refused:
        list(client.video(NO_IMAGE))
    assert refused.value.code == "unsupported_video"
    with Client(f"{live.url}/elsewhere") as lost, pytest.raises(FovealError) as refused:
        lost.models()
    assert refused.value.code == "not_found"


async def test_no_answer_is_the_same_kind_of_error() -> None:
    nowhere = "http://127.0.0.1:9"
    with Client(nowhere) as client, pytest.raises(FovealError) as refused:
        client.models()
    assert (refused.value.status, refused.value.code) == (0, "no_answer")
    async with AsyncClient(nowhere) as asking:
        with pytest.raises(FovealError, match="no_answer"):
            await asking.models()
    proxy = httpx.MockTransport(lambda _: httpx.Response(502, html="<h1>Bad gateway</h1>"))
    with Client(nowhere, transport=proxy) as client, pytest.raises(FovealError) as refused:
        client.models()
    assert (refused.value.status, refused.value.code) == (502, "not_foveal")


async def test_many_images_keep_their_order_and_their_errors(
    client: Client, asking: AsyncClient
) -> None:
    images: list[Image] = [CAT, NO_IMAGE, CUP, CAT]
    labels = ["tiger cat", "unsupported_image", "espresso", "tiger cat"]

    def said(outcome: Answer[Any] | FovealError) -> str:
        if isinstance(outcome, FovealError):
            return outcome.code
        label: str = outcome.result["predictions"][0]["label"]
        return label

    best = partial(client.classify, top_k=1)
    assert [said(one) for one in client.map(best, images, in_flight=2)] == labels
    later = asking.map(partial(asking.classify, top_k=1), images, in_flight=2)
    assert [said(one) async for one in later] == labels


async def test_no_more_images_are_taken_than_are_in_flight(
    client: Client, asking: AsyncClient
) -> None:
    taken: list[int] = []

    def images() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield NO_IMAGE

    first = client.map(client.classify, images(), in_flight=3)
    next(first)
    assert len(taken) == 3
    first.close()  # type: ignore[attr-defined]
    assert len(taken) == 3
    taken.clear()
    later = asking.map(asking.classify, images(), in_flight=4)
    await anext(later)
    assert len(taken) == 4
    await later.aclose()  # type: ignore[attr-defined]


def free_box(size: int) -> bytes:
    """Return a box of an MP4 that holds nothing: players skip it."""
    return struct.pack(">I4s", size + 8, b"free") + bytes(size)


class Receipts(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """A service that is full at first, and keeps the pieces of the bodies that it gets."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.lengths: list[str] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        self.pieces += list(request.stream)
        return self._answer(request)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.AsyncByteStream)
        self.pieces += [piece async for piece in request.stream]
        return self._answer(request)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.lengths.append(request.headers["Content-Length"])
        return httpx.Response(200, json={"event": "summary"}) if self.lengths[1:] else full()


class Full:
    """A service that is full for its first answers."""

    def __init__(self, answers: list[httpx.Response]) -> None:
        self._answers = answers
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._answers.pop(0)


def full(seconds: str | None = "0", status: int = 503) -> httpx.Response:
    headers = {} if seconds is None else {"Retry-After": seconds}
    return httpx.Response(status, headers=headers, json={"code": "overloaded", "detail": "Full."})


DONE: dict[str, list[object]] = {"models": [], "not_served": []}


async def test_a_full_service_is_tried_again_with_the_same_body() -> None:
    result = {"model": "m", "version": 1, "results": [{"predictions": []}]}
    for status in (503, 429):
        service = Full([full(status=status), full(status=status), httpx.Response(200, json=result)])
        with Client("http://x", transport=httpx.MockTransport(service)) as client:
            assert client.classify(NO_IMAGE).result == {"predictions": []}
        assert [request.content for request in service.requests] == [NO_IMAGE] * 3
    service = Full([full(), httpx.Response(200, json=DONE)])
    async with AsyncClient("http://x", transport=httpx.MockTransport(service)) as asking:
        assert await asking.models() == DONE


@pytest.mark.parametrize(
    ("answer", "tries", "requests"),
    [
        (full(), 3, 3),
        (full(seconds=None), 3, 1),
        (full(seconds="3600"), 3, 1),
        (full(seconds="Fri, 27 Nov 2026 09:00:00 GMT"), 3, 1),
        (full(status=500), 3, 1),
        (full(), 1, 1),
    ],
)
def test_it_is_given_up_where_another_try_is_of_no_use(
    answer: httpx.Response, tries: int, requests: int
) -> None:
    service = Full([answer] * requests)
    transport = httpx.MockTransport(service)
    with (
        Client("http://x", tries=tries, transport=transport) as client,
        pytest.raises(FovealError, match="overloaded: Full"),
    ):
        client.models()
    assert len(service.requests) == requests


def test_a_rate_limit_is_waited_for(repository: Path) -> None:
    limit = f"{RATE}/second"
    with (
        serve(models=repository, rate_limit_per_address=limit) as limited,
        Client(limited.url) as client,
        Client(limited.url, tries=1) as hasty,
    ):
        outcomes = list(hasty.map(hasty.classify, [NO_IMAGE] * 4 * RATE, in_flight=4 * RATE))
        codes = {one.code for one in outcomes if isinstance(one, FovealError)}
        assert codes == {"unsupported_image", "rate_limited"}
        outcomes = list(client.map(client.classify, [NO_IMAGE] * (RATE + 1)))
        codes = {one.code for one in outcomes if isinstance(one, FovealError)}
        assert codes == {"unsupported_image"}
