"""A task that finds what a test wants, on a tiny network, and a chain that reads the color of each spot."""

from collections.abc import Callable, Sequence
from pathlib import Path

from service.card import Card
from service.heads.detect import Detection
from service.heads.outputs import Outputs
from service.imaging.source_image import SourceImage
from service.tasks.classify import CLASSIFY
from service.tasks.task import Boxes, NoBoxOptions, Task
from service.tasks.tasks import TASKS
from tests.servables import write_servable

Find = Callable[[int, int], Sequence[tuple[float, float, float, float]]]
"""The boxes of an image of this width and height."""

CHAIN = """
title = "Colors of spots"
[[steps]]
name = "find"
task = "spots"
model = "colors"
[[steps]]
name = "read"
task = "classify"
model = "colors"
max_boxes = 40
"""


def tasks_with(find: Find) -> dict[str, Task]:
    """Return all tasks and `spots`, which finds what `find` returns."""

    def boxes(
        _: Outputs, source: SourceImage, __: Card, ___: object, ____: NoBoxOptions
    ) -> Sequence[Detection]:
        found = find(source.geometry.width, source.geometry.height)
        return [Detection("spot", 0, 0.5, box) for box in found]

    spots = Task(
        name="spots",
        summary="Spots",
        outputs=CLASSIFY.outputs,
        options=CLASSIFY.options,
        result=CLASSIFY.result,
        head=CLASSIFY.head,
        settle=CLASSIFY.settle,
        models=("classify",),
        boxes=Boxes(boxes),
    )
    return {**TASKS, "spots": spots}


def write_chain(root: Path, text: str = CHAIN, name: str = "spots-chain") -> Path:
    """Write the network and the chain, and return the folder."""
    if not (root / "colors").exists():
        write_servable(root)
    (root / name).mkdir()
    (root / name / "chain.toml").write_text(text)
    return root
