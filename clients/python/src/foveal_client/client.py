"""The client that waits for each answer."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
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


class Client:
    """A connection pool to one service; safe to share between threads.

    Every call raises `FovealError` where there is no result. A 503 or 429 with `Retry-After` is tried again after that
    time, which grows with each attempt.

    Args:
        url: of the service, such as `http://localhost:8000`.
        key: an API key, where the service has keys.
        timeout: seconds without a byte after which a request is given up.
        tries: the most attempts of a request.
        transport: replaces httpx's own, for proxies and tests.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 60,
        tries: int = 5,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._tries = tries
        self._http = httpx.Client(
            base_url=url, headers=calls.headers_of(key), timeout=timeout, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, image: Image, **options: Unpack[ClassifyOptions]) -> Answer[Classification]:
        return self._send(calls.on_image("classify", image, options))

    def segment(self, image: Image, **options: Unpack[SegmentOptions]) -> Answer[SegmentResult]:
        return self._send(calls.on_image("segment", image, options))

    def detect(self, image: Image, **options: Unpack[DetectOptions]) -> Answer[DetectResult]:
        return self._send(calls.on_image("detect", image, options))

    def embed(self, image: Image, **options: Unpack[EmbedOptions]) -> Answer[Embedding]:
        return self._send(calls.on_image("embed", image, options))

    def draw(self, task: Drawn, image: Image, form: str = "overlay", **options: object) -> bytes:
        """Return an image in place of figures, as `overlay`, `mask`, `cutout`, `sheet` or `heat`: PNG or JPEG."""
        return self._send(calls.drawn(task, image, form, options))

    def chain(self, image: Image, **options: Unpack[ChainOptions]) -> ChainedAnswer:
        """Return what a chain of models says: the boxes of its first step, and what the others say of each."""
        return self._send(calls.chained(image, options))

    @overload
    def explain(
        self, image: Image, *, view: Literal["input"], **options: Unpack[ExplainOptions]
    ) -> explanations.InputExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["filters"], **options: Unpack[ExplainOptions]
    ) -> explanations.FiltersExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["convolution"], **options: Unpack[ExplainOptions]
    ) -> explanations.ConvolutionExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["maps"], **options: Unpack[ExplainOptions]
    ) -> explanations.MapsExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["patterns"], **options: Unpack[ExplainOptions]
    ) -> explanations.PatternsExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["logit"], **options: Unpack[ExplainOptions]
    ) -> explanations.LogitExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["cam"], **options: Unpack[ExplainOptions]
    ) -> explanations.CamExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["occlusion"], **options: Unpack[ExplainOptions]
    ) -> explanations.OcclusionExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["rise"], **options: Unpack[ExplainOptions]
    ) -> explanations.RiseExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["probe"], **options: Unpack[ExplainOptions]
    ) -> explanations.ProbeExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: Literal["story"], **options: Unpack[ExplainOptions]
    ) -> explanations.StoryExplanation: ...

    @overload
    def explain(
        self, image: Image, *, view: View, **options: Unpack[ExplainOptions]
    ) -> explanations.ExplainResponse: ...

    def explain(
        self, image: Image, *, view: View, **options: Unpack[ExplainOptions]
    ) -> explanations.ExplainResponse:
        """Return what the view shows; the type of the result depends on the view."""
        return self._send(calls.explained(image, view, options))

    def models(self) -> ModelStates:
        return self._send(calls.models())

    def video(self, video: Video, **options: Unpack[VideoOptions]) -> Iterator[VideoEvent]:
        """Yield the events of a video as they come; to stop early, close the iterator."""
        with transport_errors(), self._stream(calls.of_video(video, options)) as response:
            yield from map(calls.event_of, response.iter_lines())

    def map(
        self, call: Callable[[Image], Read], images: Iterable[Image], in_flight: int = 8
    ) -> Iterator[Read | FovealError]:
        """Yield what a call says of each image, in order; an image that fails has its error in that place.

        At most `in_flight` requests run at once, and no more images are taken than that.
        """
        waiting: deque[Future[Read | FovealError]] = deque()
        with ThreadPoolExecutor(in_flight) as pool:
            try:
                for image in images:
                    waiting.append(pool.submit(_outcome, call, image))
                    if len(waiting) == in_flight:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, call: Call[Read]) -> Read:
        with transport_errors(), self._stream(call) as response:
            response.read()
            return call.read(response)

    @contextmanager
    def _stream(self, call: Call[Any]) -> Iterator[httpx.Response]:
        """Give the successful response, whose body is still to be read."""
        body = call.load()
        for attempt in count(1):
            with (
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
                response.read()
            seconds = wait_of(response, attempt, self._tries)
            if seconds is None:
                raise error_of(response)
            time.sleep(seconds)


@contextmanager
def _attempt(
    body: bytes | FileBody | None,
) -> Iterator[tuple[bytes | Iterator[bytes] | None, dict[str, str]]]:
    """Give the content of an attempt and its headers; a file is closed at the end."""
    if not isinstance(body, FileBody):
        yield body, {}
        return
    with closing(body.pieces()) as pieces:
        yield pieces, body.headers


def _outcome(call: Callable[[Image], Read], image: Image) -> Read | FovealError:
    try:
        return call(image)
    except FovealError as error:
        return error
