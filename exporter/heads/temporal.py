"""Class scores of a window of frames → logits and probabilities."""

from typing import ClassVar

from exporter.heads.classify import ClassifyHead
from exporter.recipe import Task


class TemporalHead(ClassifyHead):
    """Softmax over the classes; without `features`, which a temporal head reads and does not compute."""

    __slots__ = ()

    task: ClassVar[Task] = "temporal"
    outputs: ClassVar[tuple[str, ...]] = ("logits", "probabilities")
