"""An inference request: its input, outputs and parameters, each checked before it costs anything."""

import math
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from service.api.dialects.v2.datatypes import BYTES, datatype_of, dtype_of
from service.api.dialects.v2.described import Described
from service.api.dialects.v2.fields import (
    Object,
    flag,
    objects_of,
    parameters_of,
    text_of,
    whole_number,
)
from service.api.dialects.v2.framing import Tail, byte_strings
from service.api.ingest.images import checked_images, image_from_base64
from service.api.ingest.numbers import Numbers, array_from_bytes, array_of, read_json
from service.api.tensors import TensorInput, TensorLimits
from service.errors import InvalidParameterError, MalformedJsonError, TooManyImagesError
from service.faults import shown
from service.pipeline import EncodedImage
from service.runtime.signature import TensorInfo
from service.value import value

REQUEST_PARAMETERS = frozenset(
    {"binary_data_output", "priority", "sequence_end", "sequence_id", "sequence_start", "timeout"}
)
INPUT_PARAMETERS = frozenset({"binary_data_size"})
OUTPUT_PARAMETERS = frozenset({"binary_data", "classification"})
LOW_PRIORITY = 2
"""Priority 1 is the highest; 0 and what is above 2 mean the default, which is 1."""
LONGEST_ID = 1024
MICROSECONDS = 1e6
LONGEST_MICROSECONDS = 3_600_000_000


@value
class WantedOutput:
    """An output, whether it is answered as bytes, and of how many classes; 0: all of its numbers."""

    name: str
    binary: bool
    classes: int = 0


@value
class InferRequest:
    """What a request wants: what goes into the network, and which of its outputs."""

    outputs: tuple[WantedOutput, ...]
    input: TensorInput
    id: str | None = None


def read_raw(body: bytes, model: Described) -> InferRequest:
    """Return the request of a body that is the input itself: one row's bytes, or an encoded image."""
    outputs = tuple(WantedOutput(one.name, binary=True) for one in model.signature.outputs)
    blank = model.blank
    if len(body) == blank.nbytes:
        return InferRequest(
            outputs, TensorInput(array_from_bytes(body, (1, *blank.shape), blank.dtype))
        )
    if model.card.input is None:
        raise InvalidParameterError(
            f"unexpected size for input '{model.signature.inputs[0].name}': the body has {len(body)} bytes, and a row "
            f"has {blank.nbytes}"
        )
    return InferRequest(outputs, TensorInput(images=tuple(checked_images([body]))))


def read_request(
    body: bytes, json_size: int | None, model: Described, limits: TensorLimits
) -> InferRequest:
    """Return what a body with JSON wants; blocking where it is large.

    Raises:
        InvalidParameterError, MalformedJsonError, TooManyImagesError
    """
    size = len(body) if json_size is None else json_size
    given, numbers = read_json(
        body if size == len(body) else body[:size],
        most_rows=limits.most_rows,
        max_depth=limits.max_depth,
    )
    if not isinstance(given, dict):
        raise MalformedJsonError('The JSON must be an object: {"inputs": [{"name": …}]}')
    parameters = parameters_of(given, REQUEST_PARAMETERS, "request")
    outputs = _outputs(given, model, flag(parameters, "binary_data_output", "request") or False)
    name = _id(given)
    timeout = whole_number(parameters, "timeout", "request")
    priority = whole_number(parameters, "priority", "request")
    for one in ("sequence_start", "sequence_end"):
        flag(parameters, one, "request")
    tail = Tail(body, size)
    rows, images = _input(given, numbers, model, limits, tail)
    tail.end(model.name)
    seconds = min(timeout, LONGEST_MICROSECONDS) / MICROSECONDS if timeout else None
    given_input = TensorInput(rows, images, seconds, priority == LOW_PRIORITY)
    return InferRequest(outputs, given_input, name)


def _id(given: Object) -> str | None:
    name = given.get("id")
    if name is not None and (not isinstance(name, str) or len(name) > LONGEST_ID):
        raise InvalidParameterError(f"id must be a string of at most {LONGEST_ID} characters")
    return name


def _outputs(given: Object, model: Described, binary: bool) -> tuple[WantedOutput, ...]:  # noqa: FBT001  # one call
    names = [one.name for one in model.signature.outputs if dtype_of(one) is not None]
    wanted = objects_of(given, "outputs", len(names))
    if not wanted:
        return tuple(WantedOutput(name, binary) for name in names)
    found: dict[str, WantedOutput] = {}
    for one in wanted:
        name = text_of(one, "name", "outputs")
        if name not in names or name in found:
            raise InvalidParameterError(
                f"unexpected inference output {shown(name)} for model '{model.name}'. Outputs, each once: "
                f"{', '.join(names)}."
            )
        parameters = parameters_of(one, OUTPUT_PARAMETERS, f"output {name}")
        chosen = flag(parameters, "binary_data", f"output {name}")
        classes = whole_number(parameters, "classification", f"output {name}") or 0
        shape = next(info.shape for info in model.signature.outputs if info.name == name)
        if classes and len(shape) != 2:
            raise InvalidParameterError(
                f"output {name}: classification is for outputs with one score per class, and this one has the shape "
                f"{list(shape)}"
            )
        found[name] = WantedOutput(name, binary if chosen is None else chosen, classes)
    return tuple(found.values())


def _input(
    given: Object,
    numbers: Mapping[str, Numbers],
    model: Described,
    limits: TensorLimits,
    tail: Tail,
) -> tuple[NDArray[Any] | None, tuple[EncodedImage, ...]]:
    inputs = objects_of(given, "inputs", 1)
    if not inputs:
        raise InvalidParameterError(f"expected 1 inputs but got 0 inputs for model '{model.name}'")
    (one,), info = inputs, model.signature.inputs[0]
    name = text_of(one, "name", "inputs")
    if name != info.name:
        raise InvalidParameterError(
            f"unexpected inference input {shown(name)} for model '{model.name}', which takes '{info.name}'"
        )
    datatype, expected = text_of(one, "datatype", f"input {name}"), datatype_of(model.blank.dtype)
    encoded = datatype == BYTES and model.card.input is not None
    if datatype != expected and not encoded:
        raise InvalidParameterError(
            f"inference input '{name}' data-type is {shown(datatype)}, but model '{model.name}' expects '{expected}'"
        )
    shape = _shape(one, info, model, limits, encoded=encoded)
    parameters = parameters_of(one, INPUT_PARAMETERS, f"input {name}")
    size, data = whole_number(parameters, "binary_data_size", f"input {name}"), one.get("data")
    if (size is None) == (data is None):
        raise InvalidParameterError(f"input {name}: send either data or binary_data_size")
    if encoded:
        return None, _images(data, size, shape[0], tail, name)
    if size is None:
        return _from_json(data, numbers, shape, model), ()
    needed = math.prod(shape) * model.blank.itemsize
    if size != needed:
        raise InvalidParameterError(
            f"unexpected size for input '{name}': binary_data_size is {size}, and the shape {list(shape)} has {needed}"
        )
    return array_from_bytes(tail.take(size, name), shape, model.blank.dtype), ()


def _shape(
    one: Object, info: TensorInfo, model: Described, limits: TensorLimits, *, encoded: bool
) -> tuple[int, ...]:
    """Return the shape of the input, which fits the model and has a row at least."""
    given = one.get("shape")
    if not isinstance(given, list) or not all(type(axis) is int for axis in given):
        raise InvalidParameterError(f"input {info.name}: shape must be a list of whole numbers")
    wanted: tuple[int, ...] = () if encoded else model.blank.shape
    rest = tuple(given[1:])
    fits = rest == wanted or (encoded and rest == (1,))
    if not given or given[0] < 1 or not fits:
        raise InvalidParameterError(
            f"unexpected shape for input '{info.name}' for model '{model.name}'. Expected {[-1, *wanted]}, got "
            f"{shown(given)}; -1 stands for one row or more"
        )
    if given[0] > limits.most_rows:
        raise TooManyImagesError(
            f"input {info.name} has {shown(given[0])} rows, more than the {limits.most_rows} allowed. Send several "
            "requests."
        )
    return (given[0], *wanted)


def _images(
    data: object, size: int | None, count: int, tail: Tail, name: str
) -> tuple[EncodedImage, ...]:
    if size is not None:
        return tuple(checked_images(byte_strings(tail.take(size, name), count, name)))
    flat = _flat(data)
    if len(flat) != count or not all(isinstance(one, str) for one in flat):
        raise InvalidParameterError(
            f"input {name}: data must be {count} strings, each an image as base64; or send the bytes as binary data"
        )
    return tuple(image_from_base64(one) for one in flat)


def _flat(data: object) -> list[Any]:
    """Return the strings of `["…"]` or `[["…"]]`."""
    if not isinstance(data, list):
        return []
    return [one[0] if isinstance(one, list) and len(one) == 1 else one for one in data]


def _from_json(
    data: object, numbers: Mapping[str, Numbers], shape: tuple[int, ...], model: Described
) -> NDArray[Any]:
    if not isinstance(data, str) or data not in numbers:
        raise InvalidParameterError("data must be a list of numbers")
    return array_of(numbers[data], shape, model.blank.dtype)
