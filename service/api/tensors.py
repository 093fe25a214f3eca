"""Requests of protocols that speak of tensors: their limits, and their way through a network's queue."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import Request
from numpy.typing import NDArray

from service.api.deps import Services
from service.api.record import RequestRecord
from service.api.responses import cache_status, disconnected
from service.calls import TensorCall
from service.errors import DeadlineError, FovealError, TooManyImagesError
from service.pipeline import EncodedImage
from service.runtime.job import JobResult
from service.runtime.signature import DTYPES, Signature
from service.value import value

SMALL_BYTES = 16 * 1024
"""So much JSON is read, and so much of an answer is written, on the event loop; more of it on a thread."""
MOST_OUTPUT_BYTES = 256 << 20
"""The outputs of all rows are held until the answer is sent, however small the encoded images were."""


@value
class TensorLimits:
    """The rows that a request may have, and the depth of its JSON."""

    most_rows: int
    max_depth: int


@value
class TensorInput:
    """The input of a network: either `rows`, (N, …) in the network's dtype, or encoded `images`.

    `timeout_seconds` shortens the deadline. Low priority is that of the frames of videos.
    """

    rows: NDArray[Any] | None = None
    images: tuple[EncodedImage, ...] = ()
    timeout_seconds: float | None = None
    low_priority: bool = False

    @property
    def count(self) -> int:
        return len(self.images) if self.rows is None else len(self.rows)


def limits_of(services: Services) -> TensorLimits:
    """Return what a request may have: as many rows as images, and no more than fit into a queue."""
    most = min(services.max_images, services.engine.registry.batching.capacity)
    return TensorLimits(most, services.max_json_depth)


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


async def run_tensors(
    request: Request,
    services: Services,
    record: RequestRecord,
    call: TensorCall,
    given: TensorInput,
) -> list[Any]:
    """Return the outputs of each row, NumPy arrays by name.

    Raises:
        FovealError: the first error of a row, or the request as a whole can not be answered.
    """
    size = require_holdable(call.model.signature, given.count)
    if size > SMALL_BYTES:
        record.release_with_response(services.outputs.hold(size))
    if services.shares is not None:
        record.release_with_response(
            services.shares.images(request.scope, call.model.name, given.count)
        )
    outcomes = await _run(request, record, call, given)
    record.answered(outcomes)
    if given.rows is None and services.engine.cache is not None:
        record.cache_status = cache_status(outcomes)
    return [outcome.value for outcome in outcomes]


async def _run(
    request: Request, record: RequestRecord, call: TensorCall, given: TensorInput
) -> Sequence[JobResult[Any]]:
    allowed, left = given.timeout_seconds, record.deadline.left()
    run = partial(call.run, given.rows) if given.rows is not None else None
    outcomes = await (run or partial(call.run_images, given.images, client=record.client))(
        timeout_seconds=left if allowed is None else min(left, allowed),
        disconnected=partial(disconnected, request),
        low_priority=given.low_priority,
    )
    found = []
    for outcome in outcomes:
        if isinstance(outcome, FovealError):
            late = isinstance(outcome, DeadlineError) and (allowed is None or left < allowed)
            raise record.deadline.answer_late() if late else outcome
        found.append(outcome)
    return found
