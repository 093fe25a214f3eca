from dataclasses import replace

from service.spans import Span, SpanId, TracedImage, TracedRequest
from service.tracing.request_spans import ended_request

OWN = SpanId(7, 9)
BATCH = SpanId(7, 8)


def request(*images: TracedImage, **values: float) -> TracedRequest:
    made = TracedRequest(OWN, sampled=True, began=1.0)
    made.images += images
    made.received_at = values.get("received_at", 0.0)
    return made


def image(**times: float) -> TracedImage:
    base = TracedImage(OWN.span_id, request(), "lenet5", "1", "cpu", accepted_at=2.0, left_at=8.0)
    return replace(base, **times)  # type: ignore[arg-type]


def stages(traced: TracedRequest, ended: float = 9.0) -> list[tuple[str, float, float]]:
    spans = ended_request(traced, name="GET", ended=ended, attributes={}).spans
    return [(one.name, one.began, one.ended) for one in spans[1:]]


USUAL = image(
    taken_at=3.0, decode_at=3.5, decoded_at=4.0, infer_at=5.0, inferred_at=6.0, head_at=6.5, finished_at=7.0
)  # fmt: skip


def test_an_image_waits_until_its_batch_is_taken() -> None:
    assert stages(request(USUAL, received_at=1.5)) == [
        ("receive", 1.0, 1.5),
        ("queue", 2.0, 3.0),
        ("decode", 3.5, 4.0),
        ("infer", 5.0, 6.0),
        ("head", 6.5, 7.0),
    ]


def test_an_image_that_is_prepared_ahead_waits_after_that() -> None:
    ahead = replace(USUAL, decode_at=2.1, decoded_at=2.9)
    assert stages(request(ahead))[:3] == [
        ("decode", 2.1, 2.9),
        ("queue", 2.9, 3.0),
        ("infer", 5.0, 6.0),
    ]


def test_one_that_was_never_taken_waited_until_its_caller_left() -> None:
    late = replace(image(), error="deadline_exceeded")
    (_, queue) = ended_request(request(late), name="GET", ended=9.0, attributes={}).spans
    assert (queue.name, queue.began, queue.ended) == ("queue", 2.0, 8.0)
    assert queue.error == "deadline_exceeded"


def test_a_stage_that_goes_on_without_its_caller_ends_with_it() -> None:
    running = image(taken_at=3.0, decode_at=3.0, decoded_at=4.0, infer_at=5.0, inferred_at=99.0)
    assert stages(request(running))[-1] == ("infer", 5.0, 8.0)
    still = image(taken_at=3.0, decode_at=3.5)
    assert stages(request(still))[-1] == ("decode", 3.5, 8.0)


def test_an_image_that_no_queue_took_has_no_stage() -> None:
    assert stages(request(replace(image(), left_at=0.0))) == []


def test_nothing_lies_outside_of_the_request() -> None:
    traced = request(USUAL)
    traced.spans += [Span("fan_out", 3.0, 0.0, OWN.span_id), Span("batch", 3.0, 50.0, OWN.span_id)]
    assert all(1.0 <= began <= ended <= 4.0 for _, began, ended in stages(traced, ended=4.0))


def test_what_is_noted_after_the_end_changes_nothing() -> None:
    traced = request()
    going_on = Span("load", 3.0, 0.0, OWN.span_id)
    traced.spans.append(going_on)
    made = ended_request(traced, name="GET", ended=4.0, attributes={})
    going_on.ended, going_on.error = 5.0, "canceled"
    assert [(one.ended, one.error) for one in made.spans] == [(4.0, ""), (4.0, "")]


def test_what_was_too_much_is_said_and_the_own_span_comes_first() -> None:
    traced = request()
    traced.unnoted = 3
    made = ended_request(traced, name="GET /x", ended=9.0, attributes={"a": 1}, error="overloaded")
    (own,) = made.spans
    assert (own.name, own.span_id, own.parent_id, own.error) == ("GET /x", 9, 0, "overloaded")
    assert own.attributes == {"a": 1, "foveal.spans.unnoted": 3}
    assert made.size == 1


def test_a_run_links_to_its_batch_and_says_where_it_was() -> None:
    traced = request(replace(USUAL, batch=BATCH, batch_size=4))
    infer = next(
        one
        for one in ended_request(traced, name="GET", ended=9.0, attributes={}).spans
        if one.name == "infer"
    )
    assert infer.links == (BATCH,)
    assert infer.attributes == {
        "foveal.model.name": "lenet5",
        "foveal.model.version": "1",
        "foveal.device": "cpu",
        "foveal.batch.size": 4,
    }
