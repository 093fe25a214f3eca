"""What a soak sends: every task, videos, explanations, operations and bad input, each with its share."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.soak.bodies import FORM, Bodies, damaged

OK = frozenset({200})
REFUSED = frozenset({400, 413, 415, 422})
EITHER = OK | REFUSED
LEFT = frozenset({0})
"""The client closes its connection and sees no status."""
BODY_DEADLINE_MS = 1500
Ends = Literal["answer", "after_request", "in_body"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `ends` says when the client closes its connection; `raw` bytes are sent in place of all else."""

    method: str
    path: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    ends: Ends = "answer"
    announced: int | None = None
    """The Content-Length, where it is not the body's length."""
    raw: bytes = b""
    keyed: bool = True

    @property
    def whole(self) -> bool:
        """Return whether another request may follow on the same connection."""
        return self.ends == "answer" and self.announced is None and not self.raw


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: its share of all requests, in any unit, and the statuses that are right."""

    name: str
    share: float
    make: Callable[[random.Random], Request]
    expected: frozenset[int] = OK


class Mix:
    """A repeatable sequence of requests of all kinds."""

    def __init__(self, kinds: Sequence[Kind], seed: int) -> None:
        self._kinds = kinds
        self._shares = [kind.share for kind in kinds]
        self._chance = random.Random(seed)

    def next(self) -> tuple[Kind, Request]:
        kind = self._chance.choices(self._kinds, self._shares)[0]
        return kind, kind.make(self._chance)

    def gap_seconds(self, per_second: float) -> float:
        """Return the time to the next arrival of a Poisson process."""
        return self._chance.expovariate(per_second)


def kinds_of(bodies: Bodies) -> tuple[Kind, ...]:
    return (
        *_images(bodies),
        *_videos(bodies),
        *_explanations(bodies),
        *_operations(),
        *_bad_images(bodies),
        *_bad_requests(bodies),
        *_bad_clients(bodies),
    )


def _post(path: str, body: bytes, **headers: str) -> Callable[[random.Random], Request]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _: Request("POST", path, body, named)


def _images(bodies: Bodies) -> tuple[Kind, ...]:
    lite, digits = "/v1/classify?model=efficientnet-lite0", "/v1/classify?model=lenet5"
    return (
        Kind("classify", 30, _post(lite, bodies.photograph)),
        Kind("classify camera", 2, _post(lite, bodies.camera)),
        Kind("classify PNG", 5, _post(lite, bodies.png)),
        Kind("classify WebP", 3, _post(lite, bodies.webp)),
        Kind("classify digit", 20, _post(digits, bodies.digit)),
        Kind("classify form", 3, _post(lite, bodies.form, Content_Type=FORM)),
        Kind("classify JSON", 3, _post(digits, bodies.json)),
        Kind("detect", 6, _post("/v1/detect", bodies.photograph)),
        Kind("detect overlay", 2, _post("/v1/detect?format=overlay", bodies.camera)),
        Kind("segment", 0.7, _post("/v1/segment?model=u2netp", bodies.photograph)),
        Kind("segment cutout", 0.5, _post("/v1/segment?model=u2netp&format=cutout", bodies.png)),
        Kind("segment mask", 3, _post("/v1/segment?model=unet-digits&format=mask", bodies.png)),
        Kind("embed", 4, _post("/v1/embed", bodies.photograph)),
        Kind("embed floats", 2, _post("/v1/embed?format=floats", bodies.webp)),
    )


def _videos(bodies: Bodies) -> tuple[Kind, ...]:
    lines = {"Accept": "application/x-ndjson"}
    video = "/v1/video?model="
    return (
        Kind("video", 0.6, _post(f"{video}lenet5&fps=10", bodies.mp4)),
        Kind("video lines", 0.5, _post(f"{video}efficientnet-lite0", bodies.mp4, **lines)),
        Kind("video overlay", 0.2, _post("/v1/video?task=detect&format=overlay", bodies.mp4)),
        Kind("video segment", 0.3, _post(f"{video}unet-digits&task=segment", bodies.gif)),
        Kind("video motion", 0.3, _post("/v1/video?task=temporal", bodies.mp4)),
    )


def _explanations(bodies: Bodies) -> tuple[Kind, ...]:
    def cam(chance: random.Random) -> Request:
        path = f"/v1/explain?view=cam&format=overlay&class={chance.randrange(1000)}"
        return Request("POST", path, bodies.photograph)

    def rise(chance: random.Random) -> Request:
        path = f"/v1/explain?view=rise&model=lenet5&samples=100&seed={chance.randrange(10**9)}"
        return Request("POST", path, bodies.digit)

    def maps(chance: random.Random) -> Request:
        path = f"/v1/explain?view=maps&stage=stage_2&channel={chance.randrange(16)}"
        return Request("POST", path, bodies.photograph)

    patterns = "/v1/explain?view=patterns&format=sheet"
    covered = "/v1/explain?view=occlusion&model=lenet5&samples=49"
    return (
        Kind("explain cam", 0.6, cam),
        Kind("explain rise", 0.3, rise),
        Kind("explain maps", 0.5, maps),
        Kind("explain patterns", 0.3, _post(patterns, bodies.photograph)),
        Kind("explain occlusion", 0.3, _post(covered, bodies.digit)),
        Kind("explain story", 0.15, _post("/v1/explain?view=story", bodies.photograph)),
        Kind("explain probe", 0.2, _post("/v1/explain?view=probe&model=lenet5", bodies.digit)),
    )


def _operations() -> tuple[Kind, ...]:
    paths = (
        *("/v1/models", "/v1/models/lenet5", "/v1/models/lenet5/filters", "/metrics"),
        *("/health/live", "/openapi.json", "/docs", "/"),
    )
    return (Kind("operations", 4, lambda chance: Request("GET", chance.choice(paths))),)


def _bad_images(bodies: Bodies) -> tuple[Kind, ...]:
    routes = ("/v1/classify", "/v1/detect", "/v1/segment", "/v1/embed", "/v1/explain?view=cam")

    def damaged_image(chance: random.Random) -> Request:
        body = damaged(chance.choice(bodies.images), chance)
        return Request("POST", chance.choice(routes), body)

    def damaged_video(chance: random.Random) -> Request:
        body = damaged(chance.choice((bodies.mp4, bodies.gif)), chance)
        return Request("POST", "/v1/video?model=lenet5&max_frames=5", body)

    def noise(chance: random.Random) -> Request:
        return Request("POST", chance.choice(routes), chance.randbytes(chance.randrange(2000)))

    return (
        Kind("damaged image", 2, damaged_image, EITHER),
        Kind("damaged video", 0.5, damaged_video, EITHER),
        Kind("noise", 1, noise, REFUSED),
    )


def _bad_requests(bodies: Bodies) -> tuple[Kind, ...]:
    def nowhere(chance: random.Random) -> Request:
        return Request(chance.choice(("GET", "POST")), f"/v1/{chance.randbytes(8).hex()}")

    def unknown_model(chance: random.Random) -> Request:
        return Request("POST", f"/v1/classify?model={chance.randbytes(8).hex()}", bodies.digit)

    def parameter(chance: random.Random) -> Request:
        query = f"top_k={chance.randrange(-9, 0)}&{chance.randbytes(4).hex()}=1"
        return Request("POST", f"/v1/classify?{query}", bodies.digit)

    def admin(chance: random.Random) -> Request:
        return Request(
            chance.choice(("DELETE", "PUT")), f"/v1/models/{chance.randbytes(8).hex()}", b"{}"
        )

    def stranger(chance: random.Random) -> Request:
        key = {"Authorization": f"Bearer {chance.randbytes(16).hex()}"}
        return Request("POST", "/v1/classify", bodies.photograph, key, keyed=False)

    nested = b'{"images":' + b"[" * 500
    return (
        Kind("unknown path", 0.7, nowhere, frozenset({404, 405, 403})),
        Kind("unknown model", 0.7, unknown_model, frozenset({404})),
        Kind("bad parameter", 0.7, parameter, REFUSED),
        Kind("admin call", 0.5, admin, frozenset({403, 404, 405})),
        Kind("wrong key", 0.5, stranger, frozenset({401})),
        Kind("nested JSON", 0.3, _post("/v1/classify", nested), REFUSED),
        Kind("cut form", 0.3, _post("/v1/classify", bodies.form[:9000], Content_Type=FORM), EITHER),
    )


def _bad_clients(bodies: Bodies) -> tuple[Kind, ...]:
    def leaves(chance: random.Random) -> Request:
        path, body = chance.choice(
            (
                ("/v1/classify", bodies.camera),
                ("/v1/video?model=lenet5&every_n=1", bodies.mp4),
                ("/v1/explain?view=cam", bodies.photograph),
            )
        )
        ends: tuple[Ends, ...] = ("after_request", "in_body")
        return Request("POST", path, body, ends=chance.choice(ends))

    def never_sends(chance: random.Random) -> Request:
        deadline = {"X-Timeout-Ms": str(BODY_DEADLINE_MS)}
        sent = bodies.camera[: chance.randrange(200_000)]
        return Request("POST", "/v1/classify", sent, deadline, announced=len(bodies.camera))

    def no_http(chance: random.Random) -> Request:
        return Request("", "", raw=chance.randbytes(40) + b"\r\n\r\n")

    huge = {"X-Filler": "x" * 100_000}
    return (
        Kind("leaves", 1, leaves, LEFT),
        Kind("never sends", 0.3, never_sends, frozenset({504, 503})),
        Kind("no HTTP", 0.5, no_http, frozenset({400})),
        Kind(
            "huge head", 0.2, lambda _: Request("GET", "/v1/models", headers=huge), frozenset({431})
        ),
    )
