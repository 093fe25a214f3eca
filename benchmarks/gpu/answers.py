"""The whole service with every bundled model: the same bytes to a server on the GPU and to one on the CPU."""

import http.client
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as coco

from benchmarks.gpu.networks import REPOSITORY
from benchmarks.gpu.order import Order, Report, verdict
from benchmarks.gpu.photographs import proof_images, request_body
from benchmarks.gpu.serving import ANSWER_SECONDS, HOST, ask, free_port, running

IMAGES = 6
NEAR, SAME_BOX, SAME_MASK, SAME_DIRECTION = 0.02, 0.9, 0.98, 0.999
"""How far probabilities may differ, and how much boxes, masks and embeddings must have in common. The GPU rounds
products to ten bits (TF32)."""
SURE = 0.5
"""A detection with this score on one device must be found on the other."""
START_SHARE = 0.8
Answer = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and how its two answers are compared: both → what differs; empty where they agree."""

    path: str
    differs: Callable[[Answer, Answer], str]
    content_type: str = "image/jpeg"


def compare(order: Order, report: Report) -> None:
    """Send the same requests to both servers, and report each case whose answers differ."""
    bodies = {"image/jpeg": photographs(), "image/gif": [film()]}
    expected = _answers(order, "cpu", bodies, report)
    found = _answers(order, order.device, bodies, report)
    for case in CASES:
        pairs = zip(found[case.path], expected[case.path], strict=True)
        differences = [text for one, other in pairs if (text := _difference(case, one, other))]
        count = len(expected[case.path])
        because = differences[0] if differences else f"{count} answers agree"
        report(verdict(f"{case.path}: as on the CPU", holds=not differences, because=because))


def photographs() -> list[bytes]:
    """Return the bodies of the requests that have an image."""
    return [request_body(), *proof_images(IMAGES - 1)]


def film() -> bytes:
    """Return an animated GIF in which a window moves over a photograph."""
    with Image.open(BytesIO(request_body())) as image:
        frames = [image.crop((12 * step, 0, 12 * step + 320, 320)) for step in range(12)]
    stream = BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:], duration=100)
    return stream.getvalue()


def _answers(
    order: Order, device: str, bodies: Mapping[str, list[bytes]], report: Report
) -> dict[str, list[tuple[int, Any]]]:
    port = free_port()
    settings = {
        "FOVEAL_MODELS": str(REPOSITORY),
        "FOVEAL_DEVICE": device,
        "FOVEAL_CACHE": str(order.out / "cache"),
    }
    command = [sys.executable, "-m", "service.cli", "serve", "--port", str(port)]
    log, patience = order.out / "logs" / f"answers-{device}.log", order.left(START_SHARE)
    with running(command, settings, port, ready="/health/ready", log=log, patience=patience) as (
        _,
        seconds,
    ):
        report({"ready_seconds": {device: round(seconds, 2)}})
        models = json.loads(ask(port, "/v1/models"))["models"]
        report({"models": {device: {one["name"]: one["device"] for one in models}}})
        if not order.stand_in and device != "cpu":
            elsewhere = [
                f"{one['name']} on {one['device']}" for one in models if one["device"] != device
            ]
            because = ", ".join(elsewhere) or f"{len(models)} models"
            report(verdict("every model is on the GPU", holds=not elsewhere, because=because))
        return {
            case.path: [_post(port, case, body) for body in bodies[case.content_type]]
            for case in CASES
        }


def _post(port: int, case: Case, body: bytes) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(HOST, port, timeout=ANSWER_SECONDS)
    try:
        connection.request("POST", case.path, body, {"Content-Type": case.content_type})
        response = connection.getresponse()
        text = response.read().decode()
    finally:
        connection.close()
    # A video is answered by a line of JSON for each event.
    lines = [json.loads(line) for line in text.splitlines() if line]
    return response.status, lines[0] if len(lines) == 1 else {"lines": lines}


def _difference(case: Case, found: tuple[int, Any], expected: tuple[int, Any]) -> str:
    (status, answer), (expected_status, truth) = found, expected
    if status != 200 or expected_status != 200:
        return f"the status is {status}, on the CPU {expected_status}: {json.dumps(answer)[:200]}"
    return case.differs(answer, truth)


def differing_classes(found: Answer, expected: Answer) -> str:
    """Compare probabilities, by label; two labels of nearly equal probability may change places."""
    one, other = (_probabilities(answer) for answer in (found, expected))
    worst = max(
        (abs(one[label] - other[label]) for label in one.keys() & other.keys()), default=1.0
    )
    top = max(other, key=other.__getitem__)
    if one.get(top, 0.0) < max(one.values()) - NEAR:
        return f"the top class is {max(one, key=one.__getitem__)}, on the CPU {top}"
    return f"a probability differs by {worst:.3g}" if worst > NEAR else ""


def _probabilities(answer: Answer) -> dict[str, float]:
    (result,) = answer["results"]
    return {one["label"]: one["probability"] for one in result["predictions"]}


def differing_masks(found: Answer, expected: Answer) -> str:
    """Compare the masks of each class by their intersection over union."""
    one, other = (_masks(answer) for answer in (found, expected))
    for label in one.keys() | other.keys():
        if label not in one or label not in other:
            return f"only one of them has {label}"
        shared = (one[label] & other[label]).sum() / max(1, (one[label] | other[label]).sum())
        if shared < SAME_MASK:
            return f"the masks of {label} have an IoU of {shared:.3f}"
    return ""


def _masks(answer: Answer) -> dict[str, Any]:
    (result,) = answer["results"]
    least = 0.001  # a class on a few pixels comes and goes with the last bit
    return {
        one["label"]: np.asarray(coco.decode(one["rle"]), bool)
        for one in result["segments"]
        if one["fraction"] >= least
    }


def differing_boxes(found: Answer, expected: Answer) -> str:
    """Find each sure detection of one answer among those of the other."""
    one, other = (answer["results"][0]["detections"] for answer in (found, expected))
    for here, there, where in ((one, other, "the GPU"), (other, one, "the CPU")):
        for detection in here:
            if detection["score"] >= SURE and not any(_same(detection, two) for two in there):
                return f"only {where} finds {detection['label']} ({detection['score']:.3f})"
    return ""


def _same(one: Answer, other: Answer) -> bool:
    corners = ("x_min", "y_min", "x_max", "y_max")
    first, second = ([box[name] for name in corners] for box in (one["box"], other["box"]))
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    shared = max(0.0, width) * max(0.0, height)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)) - shared
    near = abs(one["score"] - other["score"]) <= NEAR
    same: bool = one["label"] == other["label"] and near and shared >= SAME_BOX * both
    return same


def differing_embeddings(found: Answer, expected: Answer) -> str:
    """Compare directions by their cosine."""
    one, other = (np.array(answer["results"][0]["embedding"]) for answer in (found, expected))
    cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    return f"the cosine is {cosine:.5f}" if cosine < SAME_DIRECTION else ""


def differing_values(found: Answer, expected: Answer) -> str:
    """Compare two answers of any kind: the same fields and words, and numbers that are near."""
    for path, one, other in _pairs(found, expected, ""):
        if isinstance(one, bool) or not isinstance(one, int | float):
            if one != other and not path.endswith(_OF_ONE_RUN):
                return f"{path} is {_short(one)}, on the CPU {_short(other)}"
        elif not path.endswith(_OF_ONE_RUN):
            scale = max(1.0, abs(float(other)))
            if abs(float(one) - float(other)) > NEAR * scale:
                return f"{path} is {one}, on the CPU {other}"
    return ""


_OF_ONE_RUN = ("request_id", "seconds", "_ms", "png", "image", "data")
"""The ends of the names of what differs from run to run: times, and encoded images."""


def _short(value: object) -> str:
    return str(value)[:60]


def _pairs(one: Any, other: Any, path: str) -> Iterator[tuple[str, Any, Any]]:  # noqa: ANN401  # JSON
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for name in one:
            yield from _pairs(one[name], other[name], f"{path}.{name}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            yield from _pairs(first, second, f"{path}[{index}]")
    else:
        yield path, one, other


CASES = (
    Case("/v1/classify?model=efficientnet-lite0&top_k=20", differing_classes),
    Case("/v1/classify?model=lenet5", differing_classes),
    Case("/v1/segment?model=u2netp", differing_masks),
    Case("/v1/segment?model=unet-digits", differing_masks),
    Case("/v1/detect?model=ssdlite-mobilenet-v2", differing_boxes),
    Case("/v1/embed?model=efficientnet-lite0", differing_embeddings),
    Case("/v1/explain?model=efficientnet-lite0&view=cam", differing_values),
    Case("/v1/explain?model=lenet5&view=logit", differing_values),
    Case("/v1/chain?model=digits", differing_values),
    Case("/v1/video?task=temporal&model=motion", differing_values, "image/gif"),
)
