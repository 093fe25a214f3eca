"""What waits to be sent to a collector of traces. No request ever waits for it: what does not fit is dropped."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from service.logs import LOGGER
from service.metrics import SPAN_OUTCOMES, Metrics

log = logging.getLogger(LOGGER)

SILENT_SECONDS = 60.0
"""After the log has said that spans are dropped."""


class Sized(Protocol):
    """What is sent as a whole or dropped as a whole."""

    @property
    def size(self) -> int:
        """How many spans it has."""
        ...


T = TypeVar("T", bound=Sized)


class SpanQueue(Generic[T]):
    """Sends spans in a thread of its own, many at once.

    The queue is bounded in spans. A request that does not fit is dropped whole, so that no trace lacks a part. A
    collector that is down, slow or refuses costs the spans: they are counted, and the log says so once.

    Args:
        send: sends some requests, and returns whether the collector took them; blocking.
        stop: makes `send` give up what it tries again; called once, at the end.
        metrics: counts the spans.
        collector: where they are sent, for the log.
        capacity: spans that may wait.
        batch: spans that are sent at once.
        delay_seconds: how long fewer may wait.
    """

    def __init__(
        self,
        send: Callable[[Sequence[T]], bool],
        stop: Callable[[], None],
        metrics: Metrics,
        *,
        collector: str,
        capacity: int,
        batch: int,
        delay_seconds: float,
    ) -> None:
        self._send = send
        self._stop = stop
        self._counts = {outcome: metrics.spans.labels(outcome) for outcome in SPAN_OUTCOMES}
        self._collector = collector
        self._capacity = capacity
        self._batch = batch
        self._delay_seconds = delay_seconds
        self._waiting: deque[T] = deque()
        self._spans = self._sending = 0
        self._condition = threading.Condition()
        self._ends_at: float | None = None
        self._failing = False
        self._silent_until = 0.0
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="foveal-traces", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, one: T) -> None:
        """Queue what is to be sent; it is dropped where it does not fit. Never waits."""
        size = one.size
        with self._condition:
            fits = self._ends_at is None and self._spans + size <= self._capacity
            if fits:
                self._waiting.append(one)
                self._spans += size
                if len(self._waiting) == 1 or self._spans >= self._batch:
                    self._condition.notify()
        if not fits:
            self._counts["dropped"].inc(size)
            self._report_dropped()

    def close(self, seconds: float) -> None:
        """Send what waits, and return after so many seconds at the latest; what is left is dropped. Blocking."""
        with self._condition:
            self._ends_at = time.monotonic() + seconds
            self._condition.notify()
        self._thread.join(seconds)
        self._stop()
        with self._condition:
            left, self._spans, self._sending = self._spans + self._sending, 0, 0
            self._waiting.clear()
        if left:
            self._counts["dropped"].inc(left)
            log.warning("%d spans were not sent to %s before the end", left, self._collector)

    def _work(self) -> None:
        while (some := self._next()) is not None:
            self._send_counted(some)

    def _next(self) -> list[T] | None:
        """Wait for what is to be sent next; None at the end."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting or self._ends_at is not None)
            self._condition.wait_for(
                lambda: self._spans >= self._batch or self._ends_at is not None, self._delay_seconds
            )
            late = self._ends_at is not None and time.monotonic() >= self._ends_at
            if late or not self._waiting:
                return None
            some = [self._waiting.popleft()]
            size = some[0].size
            while self._waiting and size + self._waiting[0].size <= self._batch:
                some.append(self._waiting.popleft())
                size += some[-1].size
            self._spans -= size
            self._sending = size
            return some

    def _send_counted(self, some: Sequence[T]) -> None:
        try:
            sent = self._send(some)
        except Exception:  # a thread that died would send nothing any more
            log.exception("Spans could not be sent, because of an unexpected error.")
            sent = False
        with self._condition:
            spans, self._sending = self._sending, 0
        self._counts["sent" if sent else "failed"].inc(spans)
        self._report(sent=sent, spans=spans)

    def _report_dropped(self) -> None:
        """Say that the queue is full, at most once a minute: a collector that hangs has refused nothing."""
        now = time.monotonic()
        if self._ends_at is not None or now < self._silent_until:
            return
        self._silent_until = now + SILENT_SECONDS
        log.warning(
            "%s takes spans more slowly than they come, or hangs: what does not fit beside %d spans that wait is "
            "dropped (OTEL_BSP_MAX_QUEUE_SIZE).",
            self._collector,
            self._capacity,
        )

    def _report(self, *, sent: bool, spans: int) -> None:
        """Say when the collector stops to take spans, and when it takes them again."""
        if not sent:
            self._lost += spans
        if sent == (not self._failing):
            return
        self._failing = not sent
        if sent:
            log.info("%s takes spans again; %d were lost", self._collector, self._lost)
            self._lost = 0
            return
        log.warning(
            "%s does not take spans; they are lost until it does. Check that it listens there for OTLP over HTTP, and "
            "OTEL_EXPORTER_OTLP_ENDPOINT.",
            self._collector,
        )
