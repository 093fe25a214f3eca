import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest

from service.metrics import Metrics
from service.tracing.span_queue import SpanQueue
from tests.samples import total


@dataclass(frozen=True)
class Spans:
    """So many spans of one request."""

    size: int
    name: str = ""


@dataclass
class Sending:
    """A collector that can be held, can refuse, and can break; it remembers what came."""

    came: list[list[Spans]] = field(default_factory=list)
    takes: bool = True
    breaks: bool = False
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    stopped: threading.Event = field(default_factory=threading.Event)
    metrics: Metrics = field(default_factory=Metrics)

    def send(self, some: Sequence[Spans]) -> bool:
        self.came.append(list(some))
        self.entered.release()
        assert self.gate.wait(10)
        if self.breaks:
            raise RuntimeError("a fault")
        return self.takes

    def has_entered(self) -> None:
        assert self.entered.acquire(timeout=10)

    def counted(self) -> dict[str, float]:
        registry = self.metrics.registry
        return {
            outcome: total(registry, "foveal_spans_total", outcome=outcome) or 0
            for outcome in ("sent", "failed", "dropped")
        }


@contextmanager
def queue_to(
    sending: Sending, *, capacity: int = 100, batch: int = 10, delay_seconds: float = 3600
) -> Iterator[SpanQueue[Spans]]:
    queue = SpanQueue[Spans](
        sending.send,
        sending.stopped.set,
        sending.metrics,
        collector="http://collector",
        capacity=capacity,
        batch=batch,
        delay_seconds=delay_seconds,
    )
    queue.start()
    try:
        yield queue
    finally:
        sending.gate.set()
        queue.close(10)


def test_a_batch_goes_at_once_and_requests_stay_whole() -> None:
    sending = Sending()
    with queue_to(sending) as queue:
        for name in "abc":
            queue.put(Spans(4, name))
        sending.has_entered()
        assert [one.name for one in sending.came[0]] == ["a", "b"]
    assert [one.name for some in sending.came for one in some] == ["a", "b", "c"]
    assert sending.counted() == {"sent": 12, "failed": 0, "dropped": 0}


def test_few_spans_go_after_a_while() -> None:
    sending = Sending()
    with queue_to(sending, delay_seconds=0.001) as queue:
        queue.put(Spans(1))
        sending.has_entered()


def test_a_request_of_more_than_a_batch_goes_alone() -> None:
    sending = Sending()
    with queue_to(sending) as queue:
        queue.put(Spans(50))
        queue.put(Spans(1))
        sending.has_entered()
        assert sending.came == [[Spans(50)]]


def test_what_does_not_fit_is_dropped_whole_and_nobody_waits() -> None:
    sending = Sending()
    with queue_to(sending, capacity=20) as queue:
        queue.put(Spans(10, "sent"))
        sending.has_entered()  # and hangs
        for size in (15, 6, 5):
            queue.put(Spans(size))
        assert sending.counted()["dropped"] == 6
    assert sending.counted() == {"sent": 30, "failed": 0, "dropped": 6}


def test_a_collector_that_refuses_is_reported_once_and_then_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sending = Sending(takes=False)
    sending.gate.set()
    with queue_to(sending, batch=1) as queue, caplog.at_level("INFO", "foveal"):
        for _ in range(2):
            queue.put(Spans(3))
            sending.has_entered()
        sending.takes = True
        queue.put(Spans(1))
        sending.has_entered()
    lines = [record.getMessage() for record in caplog.records]
    assert sending.counted()["failed"] in {3, 6}  # `takes` may change while the second one is sent
    assert len([line for line in lines if "does not take spans" in line]) == 1
    assert len([line for line in lines if "takes spans again" in line]) == 1


def test_a_fault_costs_its_spans_and_not_the_thread() -> None:
    sending = Sending(breaks=True)
    with queue_to(sending, batch=1) as queue:
        queue.put(Spans(2))
        sending.has_entered()
        sending.gate.set()
        queue.put(Spans(2))
        sending.has_entered()
    assert sending.counted() == {"sent": 0, "failed": 4, "dropped": 0}


def test_the_end_does_not_wait_for_a_collector_that_hangs() -> None:
    sending = Sending()
    with queue_to(sending) as queue:
        queue.put(Spans(10))
        sending.has_entered()
        queue.put(Spans(7))
        queue.close(0.01)
        assert sending.stopped.is_set()
        assert sending.counted() == {"sent": 0, "failed": 0, "dropped": 17}
        queue.put(Spans(1))
        assert sending.counted()["dropped"] == 18


def test_a_queue_that_is_full_is_reported_and_not_each_time(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sending = Sending()
    with queue_to(sending, capacity=20) as queue:
        queue.put(Spans(10))
        sending.has_entered()  # and hangs
        for _ in range(5):
            queue.put(Spans(15))
    said = [record.getMessage() for record in caplog.records]
    assert (
        len([one for one in said if "takes spans more slowly than they come, or hangs" in one]) == 1
    )
