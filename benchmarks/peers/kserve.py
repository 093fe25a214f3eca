"""KServe's Python model server: a custom model behind FastAPI; `predict` gets the raw bytes of non-JSON bodies."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import kserve

from benchmarks.peers.recipe import predict, read_recipe

NAME = "model"


class Classifier(kserve.Model):  # type: ignore[misc]  # KServe is installed in its own environment only
    """Each process makes its own session and threads, because neither can be passed to another process."""

    def __init__(self) -> None:
        super().__init__(NAME)
        self.recipe = read_recipe()
        self.ready = True

    @cached_property
    def session(self) -> Any:  # noqa: ANN401  # ONNX Runtime ships no types
        return self.recipe.open()

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(max(1, self.recipe.cores // self.recipe.workers))

    async def predict(
        self,
        payload: bytes,
        headers: dict[str, str] | None = None,  # noqa: ARG002  # KServe's signature
    ) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        return {"predictions": await loop.run_in_executor(self.threads, self._classify, payload)}

    def _classify(self, image: bytes) -> list[dict[str, Any]]:
        return predict(self.session, [self.recipe.decode(image)])[0]


def main() -> None:
    recipe = read_recipe()
    server = kserve.ModelServer(
        http_port=recipe.port,
        workers=recipe.workers,
        enable_grpc=False,
        enable_latency_logging=False,
    )
    server.start([Classifier()])


if __name__ == "__main__":
    main()
