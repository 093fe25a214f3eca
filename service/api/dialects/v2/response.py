"""The answer to an inference request: outputs as JSON or as bytes behind it, and their best classes."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from service.api.dialects.v2.datatypes import BYTES, datatype_of
from service.api.dialects.v2.described import Described
from service.api.dialects.v2.request import InferRequest, WantedOutput
from service.api.json_numbers import pieces_of, require_few, require_finite
from service.errors import InferenceError
from service.runtime.job import Outputs

INSTEAD = "Ask for binary_data"
Buffer = bytes | memoryview
CLASS_SCORES = frozenset({"logits", "probabilities"})
"""Outputs with a number for each of the card's labels."""


def write_answer(
    model: Described,
    request: InferRequest,
    rows: Sequence[Outputs],
    in_time: Callable[[], None] = lambda: None,
) -> tuple[bytes, int | None]:
    """Return the body, and how many bytes of it are JSON; None where it is all JSON. Blocking where it is large.

    Args:
        model: what answered.
        request: what is wanted of the outputs.
        rows: the outputs of each row.
        in_time: called between two steps; raises where the answer is too late.

    Raises:
        InvalidParameterError: an output has too many numbers for JSON, or one that JSON does not have.
    """
    as_json = [one.name for one in request.outputs if not (one.binary or one.classes)]
    require_few(as_json, rows, INSTEAD)
    described, tail = list[bytes](), list[Buffer]()
    for wanted in request.outputs:
        head, data = _output(model, wanted, rows, in_time)
        described.append(head)
        tail += data
    top = {"model_name": model.name, "model_version": str(model.version)}
    if request.id is not None:
        top = {"id": request.id, **top}
    text = to_json(top)[:-1] + b',"outputs":[' + b",".join(described) + b"]}"
    return (b"".join([text, *tail]), len(text)) if any(tail) else (text, None)


def _output(
    model: Described, wanted: WantedOutput, rows: Sequence[Outputs], in_time: Callable[[], None]
) -> tuple[bytes, list[Buffer]]:
    parts = [np.asarray(row[wanted.name]) for row in rows]
    if any(part.shape != parts[0].shape for part in parts):
        raise InferenceError(
            f"The images have {wanted.name} of different shapes. Send them one by one."
        )
    if wanted.classes:
        labels = _labels(model, wanted.name, parts[0].size)
        texts = [_best(part, wanted.classes, labels) for part in parts]
        shape, datatype = [len(texts), len(texts[0])], BYTES
        data: list[Buffer] = [_prefixed(one) for row in texts for one in row]
        pieces = [to_json(row)[1:-1] for row in texts]
    else:
        shape, datatype = [len(parts), *parts[0].shape], datatype_of(parts[0].dtype)
        data = [_little_endian(part) for part in parts] if wanted.binary else []
        pieces = [] if wanted.binary else _numbers(wanted.name, parts, in_time)
    head: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": shape}
    if wanted.binary:
        head["parameters"] = {"binary_data_size": sum(map(len, data))}
        return to_json(head), data
    return to_json(head)[:-1] + b',"data":[' + b",".join(filter(None, pieces)) + b"]}", []


def _numbers(name: str, parts: Sequence[NDArray[Any]], in_time: Callable[[], None]) -> list[bytes]:
    """Return the numbers of each row, flat and without brackets."""
    for part in parts:
        require_finite(name, part, INSTEAD)
    return [piece for part in parts for piece in pieces_of(part.ravel(), in_time)]


def _little_endian(part: NDArray[Any]) -> Buffer:
    """Return the bytes of an array, where that is possible without a copy of them."""
    array = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
    return array.reshape(-1).view(np.uint8).data


def _labels(model: Described, output: str, count: int) -> Sequence[str]:
    labels = model.card.labels
    return labels if output in CLASS_SCORES and len(labels) == count else ()


def _best(scores: NDArray[Any], count: int, labels: Sequence[str]) -> list[str]:
    """Return `value:index` or `value:index:label` of the best, as Triton writes it."""
    order = np.argsort(-scores.astype(np.float64), kind="stable")[:count]
    return [
        f"{float(scores[index]):f}:{index}" + (f":{labels[index]}" if labels else "")
        for index in order
    ]


def _prefixed(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4, "little") + encoded
