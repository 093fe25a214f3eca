"""`classify`: an image in, its most probable classes out."""

from typing import Annotated

from pydantic import Field

from service.card import Card
from service.heads.agreement import CLASSES
from service.heads.classify import Classification, classify
from service.heads.outputs import Outputs
from service.heads.over_time.classify import ClassifyCombiner, ClassifyFrame, ClassifySummary
from service.heads.sameness import same_class
from service.heads.targets import choose_class
from service.imaging.source_image import SourceImage
from service.tasks.options import TopK, settle_top_k
from service.tasks.task import OverTime, Task, TaskOptions


class ClassifyOptions(TaskOptions):
    top_k: TopK = None


class ClassifyVideoOptions(TaskOptions):
    top_k: TopK = None
    smoothing_seconds: Annotated[
        float, Field(ge=0, le=3600, description="Time constant of the smoothing; 0: none")
    ] = 1.0


def _settle(options: ClassifyOptions, card: Card) -> int:
    return settle_top_k(options.top_k, card)


def _head(outputs: Outputs, source: SourceImage, card: Card, options: int) -> Classification:
    return classify(outputs, source, labels=card.labels, top_k=options)


def _begin(options: ClassifyVideoOptions, card: Card) -> ClassifyCombiner:
    top_k = settle_top_k(options.top_k, card)
    return ClassifyCombiner(card.labels, top_k, options.smoothing_seconds)


CLASSIFY = Task(
    name="classify",
    summary="The best classes of each image",
    outputs=("logits", "probabilities", "features"),
    options=ClassifyOptions,
    result=Classification,
    head=_head,
    settle=_settle,
    over_time=OverTime(ClassifyVideoOptions, _begin, ClassifyFrame, ClassifySummary),
    target=choose_class,
    agreement=CLASSES,
    same_result=same_class,
)
