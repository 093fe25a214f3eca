"""What is noted of a batch that carries images of traced requests. Any other batch knows nothing of this."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from service.errors import FovealError
from service.metrics import VersionMetrics
from service.runtime.entry import Entry, Outcome
from service.runtime.job import Outputs
from service.runtime.turns import Turn
from service.runtime.workers import Clock
from service.spans import MOST_LINKS, Place, Span, SpanId, TracedImage, inside, new_span_id

Prepare = Callable[[Entry], bool]
Head = Callable[[Entry, Outputs], Outcome]


def note_accepted(
    entries: Sequence[Entry], here: Place, metrics: VersionMetrics, device: str
) -> None:
    """Note that jobs of a traced request are queued."""
    for entry in entries:
        image = TracedImage(
            here.span_id, here.request, metrics.model, metrics.version, device, entry.accepted_at
        )
        if here.request.add(image):
            entry.traced = image


def note_left(entries: Sequence[Entry], now: float) -> None:
    """Note that the caller of these jobs has their outcomes, or waits no more."""
    for entry in entries:
        image = entry.traced
        if image is None:
            continue
        image.left_at = now
        future = entry.future
        if not future.done() or future.cancelled():
            image.error = "canceled"
        elif isinstance(outcome := future.result(), FovealError):
            image.error = outcome.code


def within(entry: Entry) -> AbstractContextManager[None]:
    """Return a block of a worker's thread whose lines of the log name the trace of a job, if it has one."""
    image = entry.traced
    return nullcontext() if image is None else inside(Place(image.request, image.parent_id))


def noted_preparation(prepare: Prepare, clock: Clock) -> Prepare:
    """Return the preparation of jobs so that its times are noted."""

    def noting(entry: Entry) -> bool:
        image = entry.traced
        if image is None or entry.tensor is not None:  # it was prepared ahead
            return prepare(entry)
        image.decode_at = clock()
        with within(entry):
            done = prepare(entry)
        image.decoded_at = clock()
        return done

    return noting


def traced_batch(entries: Sequence[Entry], turn: Turn, clock: Clock) -> "TracedBatch | None":
    """Return the batch where it carries images of traced requests."""
    images = [entry.traced for entry in entries if entry.traced is not None]
    return TracedBatch(images, len(entries), turn, clock) if images else None


class TracedBatch:
    """A batch with its span, which is a part of the first traced request that it carries and links to all of them.

    Args:
        images: those of traced requests, one at least.
        size: all images of the batch.
        turn: from when it was taken.
        clock: the workers'.
    """

    def __init__(self, images: Sequence[TracedImage], size: int, turn: Turn, clock: Clock) -> None:
        self._first = next((one for one in images if not one.request.closed), images[0])
        self._size = size
        self._turn = turn
        self._clock = clock
        self._span_id = new_span_id()
        requests = dict.fromkeys(one.request.ids for one in images)
        self._links = list(requests)[:MOST_LINKS]
        self._began = turn.began
        span = SpanId(self._first.request.ids.trace_id, self._span_id)
        for image in images:
            image.taken_at, image.batch = turn.began, span

    def prepared_by(self, prepare: Prepare) -> Prepare:
        """Return the preparation of its jobs so that the times are noted."""
        return noted_preparation(prepare, self._clock)

    def ran(self, rows: Sequence[tuple[Entry, Outputs | FovealError]]) -> None:
        """Note the run of each row, from the durations that were measured; called when the network has run."""
        now = self._clock()
        for entry, row in rows:
            image, trace = entry.traced, entry.trace
            if image is None:
                continue
            if isinstance(row, FovealError):
                image.infer_at, image.inferred_at = self._turn.since, now
                image.error = row.code
                continue
            image.infer_at = entry.accepted_at + trace.queue + trace.decode
            image.inferred_at = image.infer_at + trace.infer
            image.batch_size = trace.batch_size

    def read_by(self, head: Head, metrics: VersionMetrics) -> Head:
        """Return a head of its jobs so that its times are noted, and the trace is an example of its stages."""

        def noting(entry: Entry, outputs: Outputs) -> Outcome:
            image = entry.traced
            if image is None:
                return head(entry, outputs)
            image.head_id = new_span_id()
            image.head_at = self._clock()
            with inside(Place(image.request, image.head_id)):
                outcome = head(entry, outputs)
            image.finished_at = self._clock()
            if not isinstance(outcome, FovealError):
                trace = entry.trace
                metrics.stage_times.exemplify(
                    image.request.trace_id, trace.decode, trace.queue, trace.infer, trace.head
                )
            return outcome

        return noting

    def end(self) -> None:
        """Note its span; called before anybody has an outcome of it, so that its first request has not ended."""
        first = self._first
        first.request.note(
            Span(
                "batch",
                self._began,
                self._clock(),
                first.parent_id,
                self._span_id,
                {
                    "foveal.model.name": first.model,
                    "foveal.model.version": first.version,
                    "foveal.device": first.device,
                    "foveal.batch.size": self._size,
                },
                self._links,
            )
        )
