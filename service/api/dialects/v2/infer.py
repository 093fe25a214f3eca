"""`POST /v2/models/{model}/infer`: tensors or encoded images in, the network's outputs out."""

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Request, Response

from service.api.deps import Services
from service.api.dialects.v2.compression import compress, wanted_coding
from service.api.dialects.v2.framing import LENGTH_HEADER, json_bytes
from service.api.dialects.v2.request import InferRequest, Limits, read_raw, read_request
from service.api.dialects.v2.response import outputs_of, write_answer
from service.api.ingest.body import read_body
from service.api.record import RequestRecord, header_of
from service.api.responses import disconnected
from service.calls import TensorCall
from service.errors import DeadlineError, EmptyBodyError, FovealError, TooManyImagesError
from service.media_types import JSON
from service.runtime.job import JobResult
from service.runtime.signature import DTYPES, Signature

SMALL_BYTES = 16 * 1024
"""So much JSON is read, and so much of an answer is written, on the event loop; more of it on a thread."""
BINARY = "application/octet-stream"
MOST_OUTPUT_BYTES = 256 << 20
"""The outputs of all rows are held until the answer is sent, however small the encoded images were."""


def limits_of(services: Services) -> Limits:
    """Return what a request may have: as many rows as images, and no more than fit into a queue."""
    most = min(services.max_images, services.engine.registry.batching.capacity)
    return Limits(most, services.max_json_depth)


async def infer(
    request: Request, services: Services, record: RequestRecord, call: TensorCall
) -> Response:
    """Return the answer of a network.

    Raises:
        FovealError: the request can not be answered, or one of its rows can not.
    """
    record.found(call.model)
    call.model.require_served()
    body = await read_body(request, services, record)
    if not body:
        raise EmptyBodyError("The request has no body. Send JSON with inputs.")
    wanted = await _read(request, body, call, limits_of(services))
    del body
    size = require_holdable(call.model.signature, wanted.count)
    if size > SMALL_BYTES:
        record.release_with_response(services.outputs.hold(size))
    if services.shares is not None:
        record.release_with_response(
            services.shares.images(request.scope, call.model.name, wanted.count)
        )
    outcomes = await _run(request, record, call, wanted)
    record.answered(outcomes)
    return await _respond(request, record, call, wanted, outputs_of(outcomes))


def require_holdable(signature: Signature, rows: int) -> int:
    """Return the bytes of the outputs of so many rows, which are not too large to be held together; one row never is.

    An axis that the graph does not state counts as one.

    Raises:
        TooManyImagesError: there are too many rows.
    """
    row = sum(
        math.prod(axis or 1 for axis in one.shape[1:]) * DTYPES[one.dtype].itemsize
        for one in signature.outputs
        if one.dtype in DTYPES
    )
    most = max(1, MOST_OUTPUT_BYTES // max(1, row))
    if rows > most:
        raise TooManyImagesError(
            f"{rows} rows have outputs of {rows * row} bytes, more than the {MOST_OUTPUT_BYTES} allowed. Send at most "
            f"{most} rows in a request."
        )
    return rows * row


async def _read(request: Request, body: bytes, call: TensorCall, limits: Limits) -> InferRequest:
    size = json_bytes(request, len(body))
    if size == 0:
        return read_raw(body, call.model)
    read = partial(read_request, body, size, call.model, limits)
    return read() if (size or len(body)) <= SMALL_BYTES else await asyncio.to_thread(read)


async def _run(
    request: Request, record: RequestRecord, call: TensorCall, wanted: InferRequest
) -> Sequence[JobResult[Any]]:
    allowed, left = wanted.timeout_seconds, record.deadline.left()
    run = partial(call.run, wanted.rows) if wanted.rows is not None else None
    outcomes = await (run or partial(call.run_images, wanted.images))(
        timeout_seconds=left if allowed is None else min(left, allowed),
        disconnected=partial(disconnected, request),
        low_priority=wanted.low_priority,
    )
    found = []
    for outcome in outcomes:
        if isinstance(outcome, FovealError):
            late = isinstance(outcome, DeadlineError) and (allowed is None or left < allowed)
            try:
                raise record.deadline.answer_late() if late else outcome
            finally:  # or the error and this frame, which holds the images, keep each other alive
                del outcome, outcomes
        found.append(outcome)
    return found


async def _respond(
    request: Request,
    record: RequestRecord,
    call: TensorCall,
    wanted: InferRequest,
    rows: Sequence[Any],
) -> Response:
    coding = wanted_coding(header_of(request, b"accept-encoding") or "")
    deadline = record.deadline

    def in_time() -> None:
        if not deadline.left():
            raise deadline.answer_late()

    def write() -> tuple[bytes, int | None]:
        body, size = write_answer(call.model, wanted, rows, in_time)
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
