"""What was noted of a request → its spans: the request itself, its body, and the stages of each of its images."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from service.spans import Attribute, Span, SpanId, TracedImage, TracedRequest


@dataclass(frozen=True, slots=True)
class EndedRequest:
    """A request that has ended.

    Attributes:
        traced: what was noted of it.
        spans: all of its spans, its own first. The others lie within it.
    """

    traced: TracedRequest
    spans: list[Span]

    @property
    def size(self) -> int:
        return len(self.spans)


def ended_request(
    traced: TracedRequest,
    *,
    name: str,
    ended: float,
    attributes: Mapping[str, Attribute],
    error: str = "",
) -> EndedRequest:
    """Return a request that has ended with its spans.

    Args:
        traced: what was noted of it.
        name: of its own span.
        ended: when, in seconds of `time.perf_counter`.
        attributes: of its own span.
        error: the code of the error that makes it a failure; empty where there is none.
    """
    more = {"foveal.spans.unnoted": traced.unnoted} if traced.unnoted else {}
    own = traced.ids.span_id
    parts = [*traced.spans]
    if traced.received_at:
        parts.append(Span("receive", traced.began, traced.received_at, own))
    for image in traced.images:
        parts += _stages(image)
    # What goes on without the request is not its time. Copies, because it may still be noted on.
    spans = [Span(name, traced.began, ended, 0, own, {**attributes, **more}, error=error)]
    spans += [
        replace(one, began=min(one.began, ended), ended=min(one.ended or ended, ended))
        for one in parts
    ]
    return EndedRequest(traced, spans)


def _stages(image: TracedImage) -> Iterator[Span]:
    """Yield the stages that an image has reached; the last of them has its error.

    An image is in the queue from when it is accepted until a worker takes its batch. Where images are prepared before
    they are queued, it is in the queue after that.
    """
    left = image.left_at
    if not left:  # it was not accepted
        return
    ahead = bool(image.decode_at) and not 0 < image.taken_at <= image.decode_at
    queued_at = image.decoded_at if ahead else image.accepted_at
    reached = [
        ("queue", queued_at, image.taken_at),
        ("decode", image.decode_at, image.decoded_at),
        ("infer", image.infer_at, image.inferred_at),
        ("head", image.head_at, image.finished_at),
    ]
    stages = sorted((one for one in reached if one[1]), key=lambda one: one[1])
    for name, began, ended in stages:
        is_last = name == stages[-1][0]
        yield Span(
            name,
            began,
            min(ended or left, left),
            image.parent_id,
            image.head_id if name == "head" else 0,
            _attributes(image, name),
            _links(image) if name == "infer" else (),
            image.error if is_last else "",
        )


def _attributes(image: TracedImage, stage: str) -> dict[str, Attribute]:
    """Return what is known of a stage; each attribute costs as much as a span when it is sent."""
    if stage == "queue":
        return {"foveal.model.name": image.model}
    if stage != "infer":
        return {}
    attributes: dict[str, Attribute] = {
        "foveal.model.name": image.model,
        "foveal.model.version": image.version,
        "foveal.device": image.device,
    }
    if image.batch_size:
        attributes["foveal.batch.size"] = image.batch_size
    return attributes


def _links(image: TracedImage) -> tuple[SpanId, ...]:
    return () if image.batch is None else (image.batch,)
