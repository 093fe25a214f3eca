"""The answer to an inference request: outputs as JSON or as bytes behind it, and their best classes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from service.api.dialects.v2.datatypes import BYTES, datatype_of
from service.api.dialects.v2.request import InferRequest, WantedOutput
from service.errors import InferenceError, InvalidParameterError
from service.runtime.job import Outputs
from service.runtime.model import Model

MOST_NUMBERS = 1 << 22
"""Numbers that an answer may have as JSON; each takes up to twenty bytes of text."""
PIECE_NUMBERS = 1 << 14
"""So many numbers are written in one step, which no other thread interrupts."""
Buffer = bytes | memoryview
CLASS_SCORES = frozenset({"logits", "probabilities"})
"""Outputs with a number for each of the card's labels."""


def write_answer(
    model: Model,
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
    _require_few(request.outputs, rows)
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


def _require_few(outputs: Sequence[WantedOutput], rows: Sequence[Outputs]) -> None:
    """Check how many numbers are wanted as JSON.

    Raises:
        InvalidParameterError: too many.
    """
    as_json = [one.name for one in outputs if not (one.binary or one.classes)]
    numbers = sum(np.size(row[name]) for row in rows for name in as_json)
    if numbers > MOST_NUMBERS:
        raise InvalidParameterError(
            f"the outputs {', '.join(as_json)} have {numbers} numbers; at most {MOST_NUMBERS} are sent as JSON. Ask "
            "for binary_data, or send fewer images."
        )


def _output(
    model: Model, wanted: WantedOutput, rows: Sequence[Outputs], in_time: Callable[[], None]
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
        pieces = [] if wanted.binary else _as_json(wanted.name, parts, in_time)
    head: dict[str, Any] = {"name": wanted.name, "datatype": datatype, "shape": shape}
    if wanted.binary:
        head["parameters"] = {"binary_data_size": sum(map(len, data))}
        return to_json(head), data
    return to_json(head)[:-1] + b',"data":[' + b",".join(filter(None, pieces)) + b"]}", []


def _as_json(name: str, parts: Sequence[NDArray[Any]], in_time: Callable[[], None]) -> list[bytes]:
    """Return the numbers of each row without brackets; a few at a time are a list of Python's numbers."""
    pieces = []
    for part in parts:
        flat = part.ravel()
        if flat.dtype.kind == "f" and not np.isfinite(flat).all():
            raise InvalidParameterError(
                f"output {name} has a number that JSON does not have: NaN, or an infinite one. Ask for binary_data."
            )
        for start in range(0, flat.size, PIECE_NUMBERS):
            in_time()
            pieces.append(to_json(flat[start : start + PIECE_NUMBERS].tolist())[1:-1])
    return pieces


def _little_endian(part: NDArray[Any]) -> Buffer:
    """Return the bytes of an array, where that is possible without a copy of them."""
    array = np.ascontiguousarray(part.astype(part.dtype.newbyteorder("<"), copy=False))
    return array.reshape(-1).view(np.uint8).data


def _labels(model: Model, output: str, count: int) -> Sequence[str]:
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


def outputs_of(outcomes: Sequence[Any]) -> list[Mapping[str, NDArray[Any]]]:
    """Return the outputs of each row."""
    return [outcome.value for outcome in outcomes]
