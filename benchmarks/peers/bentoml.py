"""BentoML: uvicorn workers behind one socket, each with its own session; the call runs on its thread pool.

Adaptive batching merges calls that bring lists; with one picture a call there is nothing to merge.
"""

from pathlib import Path
from typing import Annotated, Any

import bentoml
from bentoml.validators import ContentType

from benchmarks.peers.recipe import PATIENCE_SECONDS, predict, read_recipe

recipe = read_recipe()
QUEUE = 1024


@bentoml.service(
    workers=recipe.workers,
    threads=max(1, recipe.cores // recipe.workers),
    traffic={"timeout": PATIENCE_SECONDS, "max_concurrency": QUEUE},
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
)
class Classifier:
    def __init__(self) -> None:
        self.session = recipe.open()

    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def classify(self, picture: Annotated[Path, ContentType("image/*")], /) -> list[dict[str, Any]]:
        return predict(self.session, [recipe.decode(picture.read_bytes())])[0]
