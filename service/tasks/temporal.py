"""`temporal`: a video in, what happens in it out: a network over the features of several frames."""

from typing import Annotated

from pydantic import Field

from service.card import Card
from service.heads.classify import Classification
from service.heads.over_time.temporal import TemporalCombiner, TemporalFrame, TemporalSummary
from service.tasks.options import TopK, settle_top_k
from service.tasks.task import OverTime, Task, TaskOptions


class TemporalOptions(TaskOptions):
    top_k: TopK = None
    stride: Annotated[
        int | None,
        Field(ge=1, description="Frames from one window to the next; default: the model's"),
    ] = None


def _begin(options: TemporalOptions, card: Card) -> TemporalCombiner:
    window = card.window
    assert window is not None  # a temporal network's card has one
    if options.stride is not None:
        window = window.model_copy(update={"stride": options.stride})
    return TemporalCombiner(card.labels, settle_top_k(options.top_k, card), window)


TEMPORAL = Task(
    name="temporal",
    summary="What happens in a video",
    outputs=("logits", "probabilities"),
    options=TemporalOptions,
    result=Classification,
    head=None,
    over_time=OverTime(TemporalOptions, _begin, TemporalFrame, TemporalSummary),
)
