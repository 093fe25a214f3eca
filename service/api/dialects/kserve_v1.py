"""KServe's V1 protocol and TensorFlow Serving's REST API: instances in, the network's outputs out, row by row.

Its predictions and metadata are at the same paths as in both. Whether a model is ready has the path of our own list of
models there, so it is answered below `/kserve` only, where the whole protocol is.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from fastapi import Response
from pydantic_core import to_json

from service.api.ingest.body import read_body
from service.api.ingest.images import image_from_base64
from service.api.ingest.json_object import Object
from service.api.ingest.numbers import Numbers, array_of, count_of, read_json
from service.api.json_numbers import nested, require_few, require_finite
from service.api.protocol import Call, Endpoint, Protocol, json_answer
from service.api.tensors import (
    SMALL_BYTES,
    TensorInput,
    TensorLimits,
    limits_of,
    run_tensors,
)
from service.errors import (
    EmptyBodyError,
    InvalidParameterError,
    MalformedJsonError,
    NotReadyError,
    TooManyImagesError,
)
from service.faults import shown
from service.media_types import JSON
from service.runtime.model import Model
from service.runtime.signature import DTYPES, TensorInfo

SIGNATURE = "serving_default"
BASE64 = "b64"
INSTEAD = "Use /v2 with binary_data"
SENDS = '{"instances": [{"b64": "<image>"}]}'
_DTYPES = {"bool": "BOOL", "float16": "HALF", "float32": "FLOAT", "float64": "DOUBLE"}
"""TensorFlow's names of types where they are not NumPy's in capitals."""
_STATES = {
    "ready": "AVAILABLE",
    "loading": "LOADING",
    "asleep": "AVAILABLE",  # it answers: the request loads it
    "failed": "END",
}


def kserve_v1() -> Protocol:
    """Return the protocol."""
    endpoints: dict[str, Endpoint] = {}
    for prefix in ("", "/kserve"):
        for version in ("", "/versions/{version}"):
            model = f"{prefix}/v1/models/{{model}}{version}"
            endpoints[f"{model}:predict"] = Endpoint("POST", _predict, sheds=True)
            endpoints[f"{model}/metadata"] = Endpoint("GET", _metadata)
    endpoints |= {
        "/kserve": Endpoint("GET", _live),
        "/kserve/v1/models": Endpoint("GET", _list),
        "/kserve/v1/models/{model}": Endpoint("GET", _status),
        "/kserve/v1/models/{model}/versions/{version}": Endpoint("GET", _status),
    }
    return Protocol("kserve-v1", endpoints, ("/kserve",))


async def _predict(call: Call) -> Response:
    network = call.services.engine.dispatch.tensor_call(call.model or "", call.version)
    model = network.model
    call.record.found(model)
    model.require_served()
    body = await read_body(call.request, call.services, call.record)
    if not body:
        raise EmptyBodyError(f"The request has no body. Send {SENDS}.")
    read = partial(read_instances, body, model, limits_of(call.services))
    given, in_rows = read() if len(body) <= SMALL_BYTES else await asyncio.to_thread(read)
    del body
    rows = await run_tensors(call.request, call.services, call.record, network, given)
    in_time = call.record.deadline.require_time
    write = partial(write_predictions, model, rows, in_rows=in_rows, in_time=in_time)
    small = 8 * len(rows) * sum(one.size for one in rows[0].values()) <= SMALL_BYTES
    return Response(write() if small else await asyncio.to_thread(write), media_type=JSON)


def read_instances(body: bytes, model: Model, limits: TensorLimits) -> tuple[TensorInput, bool]:
    """Return the input of a network, and whether it came as `instances`, row by row, or as `inputs`.

    Raises:
        InvalidParameterError, MalformedJsonError, TooManyImagesError
    """
    name = model.signature.inputs[0].name
    given, numbers = read_json(
        body,
        most_rows=limits.most_rows,
        max_depth=limits.max_depth,
        keys={"instances", "inputs", name},
    )
    if not isinstance(given, dict):
        raise MalformedJsonError(f"The JSON must be an object: {SENDS}")
    if given.get("signature_name") not in (None, "", SIGNATURE):  # a list has no hash
        raise InvalidParameterError(
            f"signature_name: there is only {SIGNATURE!r}, not {shown(given['signature_name'])}"
        )
    if ("instances" in given) == ("inputs" in given):
        raise InvalidParameterError(f"Send either instances or inputs: {SENDS}")
    if "instances" in given:
        return _rows_of("instances", given["instances"], numbers, model, limits), True
    value = given["inputs"]
    if isinstance(value, dict) and set(value) == {name}:
        value = value[name]
    return _rows_of("inputs", value, numbers, model, limits), False


def _rows_of(
    key: str, value: object, numbers: Mapping[str, Numbers], model: Model, limits: TensorLimits
) -> TensorInput:
    name, shape = model.signature.inputs[0].name, model.blank.shape
    if isinstance(value, str) and value in numbers:
        count, rest = divmod(count_of(numbers[value]), math.prod(shape))
        if rest or not count:
            raise InvalidParameterError(
                f"{model.name} takes {name!r} of the shape {[-1, *shape]}, -1 for any number of rows; the numbers sent "
                "do not fill whole rows"
            )
        _require_rows(count, limits)
        rows = array_of(numbers[value], (count, *shape), model.blank.dtype, flat=False)
        return TensorInput(rows)
    if not isinstance(value, list) or not value:
        raise InvalidParameterError(f"{key} must be a list that is not empty: {SENDS}")
    _require_rows(len(value), limits)
    found = [_unnamed(one, name) for one in value]
    if all(isinstance(one, str) and one in numbers for one in found):
        dtype = model.blank.dtype
        return TensorInput(
            np.stack([array_of(numbers[one], shape, dtype, flat=False) for one in found])
        )
    return TensorInput(images=tuple(image_from_base64(_base64(one, model)) for one in found))


def _unnamed(instance: object, name: str) -> Any:  # noqa: ANN401  # JSON of a client
    """Return `x` of `{"image": x}`, with the network's own name or TensorFlow's for encoded images."""
    if isinstance(instance, dict) and len(instance) == 1:
        [(key, value)] = instance.items()
        return value if key in {name, f"{name}_bytes"} else instance
    return instance


def _base64(instance: object, model: Model) -> str:
    takes_images = model.card.input is not None
    if takes_images and isinstance(instance, dict) and set(instance) == {BASE64}:
        text = instance[BASE64]
        if isinstance(text, str):
            return text
    name, shape = model.signature.inputs[0].name, list(model.blank.shape)
    images = f', or {{"{BASE64}": "<an image as base64>"}}' if takes_images else ""
    raise InvalidParameterError(
        f"Each instance of {model.name} is numbers of the shape {shape}, or {{{name!r}: the same}}{images}; one is "
        f"{shown(instance)}"
    )


def _require_rows(count: int, limits: TensorLimits) -> None:
    if count > limits.most_rows:
        raise TooManyImagesError(
            f"The request has {count} instances, more than the {limits.most_rows} allowed. Send several requests."
        )


def write_predictions(
    model: Model,
    rows: Sequence[Object],
    *,
    in_rows: bool,
    in_time: Callable[[], None] = lambda: None,
) -> bytes:
    """Return the answer; of a network with one output the numbers stand alone, without its name. Blocking.

    Args:
        model: what answered.
        rows: the outputs of each row.
        in_rows: whether each row stands for itself; else each output does.
        in_time: called between two steps; raises where the answer is too late.

    Raises:
        InvalidParameterError: there are too many numbers, or one that JSON does not have.
    """
    names = [one.name for one in model.signature.outputs if one.dtype in DTYPES]
    require_few(names, rows, INSTEAD)
    encoded = [{name: _numbers(name, row[name], in_time) for name in names} for row in rows]
    if in_rows:
        return b'{"predictions":[' + b",".join(_joined(one, names) for one in encoded) + b"]}"
    columns = {name: b"[" + b",".join(one[name] for one in encoded) + b"]" for name in names}
    return b'{"outputs":' + _joined(columns, names) + b"}"


def _numbers(name: str, output: object, in_time: Callable[[], None]) -> bytes:
    array = np.asarray(output)
    require_finite(name, array, INSTEAD)
    return nested(array, in_time)


def _joined(values: Mapping[str, bytes], names: Sequence[str]) -> bytes:
    if len(names) == 1:
        return values[names[0]]
    return b"{" + b",".join(to_json(name) + b":" + values[name] for name in names) + b"}"


async def _metadata(call: Call) -> Response:
    model = call.services.engine.model(call.model or "", call.version)
    model.require_served()
    signature = {
        "inputs": {one.name: _tensor(one) for one in _known(model.signature.inputs)},
        "outputs": {one.name: _tensor(one) for one in _known(model.signature.outputs)},
        "method_name": "tensorflow/serving/predict",
    }
    return json_answer(
        {
            "model_spec": {
                "name": model.name,
                "signature_name": "",
                "version": str(model.version),
            },
            "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
        }
    )


def _known(tensors: Sequence[TensorInfo]) -> list[TensorInfo]:
    return [one for one in tensors if one.dtype in DTYPES]


def _tensor(tensor: TensorInfo) -> dict[str, Any]:
    kind = DTYPES[tensor.dtype].name
    axes = [{"size": str(-1 if axis is None else axis), "name": ""} for axis in tensor.shape]
    return {
        "name": tensor.name,
        "dtype": f"DT_{_DTYPES.get(kind, kind.upper())}",
        "tensor_shape": {"dim": axes, "unknown_rank": False},
    }


async def _live(_: Call) -> Response:
    return json_answer({"status": "alive"})


async def _list(call: Call) -> Response:
    names = dict.fromkeys(one.name for one in call.services.engine.registry.models)
    return json_answer({"models": list(names)})


async def _status(call: Call) -> Response:
    """Answer what KServe and TensorFlow Serving each want to know of a model."""
    chosen = call.services.engine.model(call.model or "", call.version)
    if not chosen.can_answer:
        raise NotReadyError(f"{chosen} {chosen.reason}.")
    registry = call.services.engine.registry
    versions = [chosen] if call.version else registry.versions(chosen.name)
    return json_answer(
        {
            "name": chosen.name,
            "ready": True,
            "model_version_status": [
                {
                    "version": str(one.version),
                    "state": _STATES[one.state],
                    "status": {
                        "error_code": "OK" if one.state != "failed" else "UNAVAILABLE",
                        "error_message": one.reason,
                    },
                }
                for one in versions
            ],
        }
    )
