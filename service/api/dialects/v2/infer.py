"""`POST /v2/models/{model}/infer`: tensors or encoded images in, the network's outputs out."""

import asyncio
from collections.abc import Sequence
from functools import partial

from fastapi import Request, Response

from service.api.deps import Services
from service.api.dialects.v2.compression import compress, wanted_coding
from service.api.dialects.v2.described import Described
from service.api.dialects.v2.framing import LENGTH_HEADER, json_bytes
from service.api.dialects.v2.request import InferRequest, read_raw, read_request
from service.api.dialects.v2.response import write_answer
from service.api.dialects.v2.ultralytics import UltralyticsView
from service.api.ingest.body import LARGE_BYTES, read_body
from service.api.record import RequestRecord, list_header_of
from service.api.tensors import SMALL_BYTES, TensorLimits, limits_of, run_tensors
from service.calls import TensorCall
from service.errors import EmptyBodyError
from service.media_types import JSON
from service.runtime.job import Outputs

BINARY = "application/octet-stream"


async def infer(
    request: Request,
    services: Services,
    record: RequestRecord,
    call: TensorCall,
    view: UltralyticsView | None = None,
) -> Response:
    """Return the answer of a network, or of another view of it.

    Raises:
        FovealError: the request can not be answered, or one of its rows can not.
    """
    record.found(call.model)
    call.model.require_served()
    body = await read_body(request, services, record)
    if not body:
        raise EmptyBodyError("The request has no body. Send JSON with inputs.")
    described = view or call.model
    wanted = await read_body_apart(request, body, described, limits_of(services))
    del body
    given = wanted.input if view is None else await asyncio.to_thread(view.input_of, wanted.input)
    rows: Sequence[Outputs] = await run_tensors(request, services, record, call, given)
    if view is not None:
        rows = await asyncio.to_thread(view.results, rows)
    return await _respond(request, record, described, wanted, rows)


async def read_body_apart(
    request: Request, body: bytes, model: Described, limits: TensorLimits
) -> InferRequest:
    """Return what a body wants; on a thread where that takes long.

    Raises:
        InvalidParameterError, MalformedJsonError, TooManyImagesError
    """
    size = json_bytes(request, len(body))
    read = (
        partial(read_raw, body, model)
        if size == 0
        else partial(read_request, body, size, model, limits)
    )
    text = len(body) if size is None else size
    floats = len(body) - text if model.blank.dtype.kind == "f" else 0  # each may be NaN
    blocks = text > SMALL_BYTES or floats > LARGE_BYTES
    return await asyncio.to_thread(read) if blocks else read()


async def _respond(
    request: Request,
    record: RequestRecord,
    model: Described,
    wanted: InferRequest,
    rows: Sequence[Outputs],
) -> Response:
    coding = wanted_coding(list_header_of(request, b"accept-encoding"))
    in_time = record.deadline.require_time

    def write() -> tuple[bytes, int | None]:
        body, size = write_answer(model, wanted, rows, in_time)
        return (compress(body, coding, in_time) if coding else body), size

    bytes_of_all = sum(
        rows[0][one.name].nbytes * (1 if one.binary and not coding else 8) for one in wanted.outputs
    ) * len(rows)
    small = bytes_of_all <= SMALL_BYTES
    body, size = write() if small else await asyncio.to_thread(write)
    headers = {"Vary": "Accept-Encoding"}
    if coding:
        headers["Content-Encoding"] = coding
    if size is None:
        return Response(body, headers=headers, media_type=JSON)
    return Response(body, headers={**headers, LENGTH_HEADER: str(size)}, media_type=BINARY)
