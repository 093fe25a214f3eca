"""BentoML: uvicorn workers behind one socket, each with its own session; calls run on its thread pool.

Adaptive batching merges calls that have lists. With one image per call there is nothing to merge.
"""

from typing import Any

import bentoml
from PIL.Image import Image

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
    def classify(self, image: Image, /) -> list[dict[str, Any]]:
        """Take a decoded image; BentoML would write a file to disk first."""
        return predict(self.session, [recipe.fit(image)])[0]
