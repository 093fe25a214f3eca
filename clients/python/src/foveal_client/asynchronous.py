"""The client for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from itertools import count
from typing import Any, Literal, Self, TypeVar, Unpack, overload

import httpx

from foveal_client import calls, explanations
from foveal_client.bodies import FileBody
from foveal_client.calls import Answer, Call, ChainedAnswer, Drawn
from foveal_client.cards import ModelStates
from foveal_client.errors import FovealError, error_of, transport_errors, wait_of
from foveal_client.types import (
    ChainOptions,
    Classification,
    ClassifyOptions,
    DetectOptions,
    DetectResult,
    Embedding,
    EmbedOptions,
    ExplainOptions,
    Image,
    SegmentOptions,
    SegmentResult,
    Video,
    VideoEvent,
    VideoOptions,
    View,
)

Read = TypeVar("Read")


class AsyncClient:
    """`Client` for asyncio: the same calls, to be awaited."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 60,
        tries: int = 5,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._tries = tries
        self._http = httpx.AsyncClient(
            base_url=url, headers=calls.headers_of(key), timeout=timeout, transport=transport
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def classify(
        self, image: Image, **options: Unpack[ClassifyOptions]
    ) -> Answer[Classification]:
        return await self._send(calls.on_image("classify", image, options))

    async def segment(
        self, image: Image, **options: Unpack[SegmentOptions]
    ) -> Answer[SegmentResult]:
        return await self._send(calls.on_image("segment", image, options))

    async def detect(self, image: Image, **options: Unpack[DetectOptions]) -> Answer[DetectResult]:
        return await self._send(calls.on_image("detect", image, options))

    async def embed(self, image: Image, **options: Unpack[EmbedOptions]) -> Answer[Embedding]:
        return await self._send(calls.on_image("embed", image, options))

    async def draw(
        self, task: Drawn, image: Image, form: str = "overlay", **options: object
    ) -> bytes:
        """Return an image in place of figures, as `overlay`, `mask`, `cutout`, `sheet` or `heat`: PNG or JPEG."""
        return await self._send(calls.drawn(task, image, form, options))

    async def chain(self, image: Image, **options: Unpack[ChainOptions]) -> ChainedAnswer:
        """Return what a chain of models says: the boxes of its first step, and what the others say of each."""
        return await self._send(calls.chained(image, options))

    @overload
    async def explain(
        self, image: Image, *, view: Literal["input"], **options: Unpack[ExplainOptions]
    ) -> explanations.InputExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["filters"], **options: Unpack[ExplainOptions]
    ) -> explanations.FiltersExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["convolution"], **options: Unpack[ExplainOptions]
    ) -> explanations.ConvolutionExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["maps"], **options: Unpack[ExplainOptions]
    ) -> explanations.MapsExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["patterns"], **options: Unpack[ExplainOptions]
    ) -> explanations.PatternsExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["logit"], **options: Unpack[ExplainOptions]
    ) -> explanations.LogitExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["cam"], **options: Unpack[ExplainOptions]
    ) -> explanations.CamExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["occlusion"], **options: Unpack[ExplainOptions]
    ) -> explanations.OcclusionExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["rise"], **options: Unpack[ExplainOptions]
    ) -> explanations.RiseExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["probe"], **options: Unpack[ExplainOptions]
    ) -> explanations.ProbeExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: Literal["story"], **options: Unpack[ExplainOptions]
    ) -> explanations.StoryExplanation: ...

    @overload
    async def explain(
        self, image: Image, *, view: View, **options: Unpack[ExplainOptions]
    ) -> explanations.ExplainResponse: ...

    async def explain(
        self, image: Image, *, view: View, **options: Unpack[ExplainOptions]
    ) -> explanations.ExplainResponse:
        """Return what the view shows; the type of the result depends on the view."""
        return await self._send(calls.explained(image, view, options))

    async def models(self) -> ModelStates:
        return await self._send(calls.models())

    async def video(
        self, video: Video, **options: Unpack[VideoOptions]
    ) -> AsyncIterator[VideoEvent]:
        """Yield the events of a video as they come; to stop early, close the iterator."""
        with transport_errors():
            async with self._stream(calls.of_video(video, options)) as response:
                async for line in response.aiter_lines():
                    yield calls.event_of(line)

    async def map(
        self, call: Callable[[Image], Awaitable[Read]], images: Iterable[Image], in_flight: int = 8
    ) -> AsyncIterator[Read | FovealError]:
        """Yield what a call says of each image, as `Client.map`."""
        waiting: deque[asyncio.Task[Read | FovealError]] = deque()
        try:
            for image in images:
                waiting.append(asyncio.create_task(_outcome(call, image)))
                if len(waiting) == in_flight:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()

    async def _send(self, call: Call[Read]) -> Read:
        with transport_errors():
            async with self._stream(call) as response:
                await response.aread()
                return call.read(response)

    @asynccontextmanager
    async def _stream(self, call: Call[Any]) -> AsyncIterator[httpx.Response]:
        """Give the successful response, whose body is still to be read."""
        body = await asyncio.to_thread(call.load)
        for attempt in count(1):
            async with (
                _attempt(body) as (content, headers),
                self._http.stream(
                    call.method,
                    call.path,
                    params=call.params,
                    content=content,
                    headers=call.headers | headers,
                ) as response,
            ):
                if response.is_success:
                    yield response
                    return
                await response.aread()
            seconds = wait_of(response, attempt, self._tries)
            if seconds is None:
                raise error_of(response)
            await asyncio.sleep(seconds)


@asynccontextmanager
async def _attempt(
    body: bytes | FileBody | None,
) -> AsyncIterator[tuple[bytes | AsyncIterator[bytes] | None, dict[str, str]]]:
    """Give the content of an attempt and its headers; a file is closed at the end."""
    if not isinstance(body, FileBody):
        yield body, {}
        return
    async with aclosing(body.pieces_later()) as pieces:
        yield pieces, body.headers


async def _outcome(call: Callable[[Image], Awaitable[Read]], image: Image) -> Read | FovealError:
    try:
        return await call(image)
    except FovealError as error:
        return error
