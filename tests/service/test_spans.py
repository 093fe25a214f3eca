import asyncio

import pytest

from service.errors import OverloadedError
from service.spans import (
    CURRENT,
    MOST_IMAGES,
    MOST_SPANS,
    Place,
    Span,
    SpanId,
    TracedImage,
    TracedRequest,
    begin,
    inside,
    place,
    span,
)

pytestmark = pytest.mark.anyio

OWN = SpanId(7, 9)


def traced(*, sampled: bool = True) -> TracedRequest:
    return TracedRequest(OWN, sampled, began=1.0)


def image(request: TracedRequest) -> TracedImage:
    return TracedImage(OWN.span_id, request, "lenet5", "1", "cpu", accepted_at=1.0)


def test_while_nothing_is_traced_nothing_is_noted() -> None:
    assert place() is None
    assert begin("work") is None
    with span("work"):
        assert CURRENT.get() is None


def test_a_request_that_is_not_sampled_has_ids_for_the_log_and_no_spans() -> None:
    request = traced(sampled=False)
    with inside(Place(request, OWN.span_id)), span("work"):
        assert place() is None
    assert request.spans == []
    assert request.parent == f"00-{7:032x}-{9:016x}-00"


def test_blocks_nest_and_an_error_is_named_by_its_code() -> None:
    request = traced()
    with inside(Place(request, OWN.span_id)):
        with pytest.raises(OverloadedError), span("outer"), span("inner", {"n": 1}):
            raise OverloadedError("full")
        with span("later"):
            pass
    outer, inner, later = request.spans
    assert [one.parent_id for one in request.spans] == [9, outer.span_id, 9]
    assert (inner.error, outer.error, later.error) == ("overloaded", "overloaded", "")
    assert outer.began <= inner.began <= inner.ended <= outer.ended <= later.began


async def test_tasks_and_threads_of_a_block_are_its_parts() -> None:
    request = traced()

    def on_thread() -> None:
        with span("thread"):
            pass

    async def beside() -> None:
        await asyncio.to_thread(on_thread)

    with inside(Place(request, OWN.span_id)), span("outer"):
        await asyncio.create_task(beside())
    outer, thread = request.spans
    assert thread.parent_id == outer.span_id


async def test_a_task_can_be_a_part_of_a_span_that_its_maker_is_not_in() -> None:
    request = traced()

    async def beside() -> None:
        with span("inner"):
            pass

    with inside(Place(request, OWN.span_id)):
        opened = begin("outer")
        assert opened is not None
        await asyncio.create_task(beside(), context=opened.context())
        with span("other"):
            pass
        opened.end(attributes={"images": 2})
    outer, inner, other = request.spans
    assert (inner.parent_id, other.parent_id) == (outer.span_id, OWN.span_id)
    assert outer.attributes == {"images": 2}


def test_what_is_too_much_is_counted() -> None:
    request = traced()
    for _ in range(MOST_SPANS + 3):
        request.note(Span("work", 1.0, 2.0, OWN.span_id))
    added = [request.add(image(request)) for _ in range(MOST_IMAGES + 2)]
    assert len(request.spans) == MOST_SPANS
    assert len(request.images) == MOST_IMAGES == added.count(True)
    assert request.unnoted == 5
    with inside(Place(request, OWN.span_id)):
        assert begin("more") is None


def test_what_comes_after_the_end_is_lost() -> None:
    request = traced()
    request.closed = True
    with inside(Place(request, OWN.span_id)), span("late"):
        pass
    assert not request.add(image(request))
    assert (request.spans, request.images, request.unnoted) == ([], [], 0)
