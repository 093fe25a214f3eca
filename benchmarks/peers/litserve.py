"""LitServe: FastAPI passes requests through a queue to worker processes; each decodes and runs."""

from typing import Annotated, Any

import litserve
from fastapi import Body
from numpy.typing import NDArray

from benchmarks.peers.recipe import HOST, predict, read_recipe

FILL_SECONDS = 0.002
"""How long a batch may wait to fill. With 0, LitServe's workers poll without a pause and fill no batch."""


class Classifier(litserve.LitAPI):  # type: ignore[misc]  # LitServe is installed in its own environment only
    def setup(self, device: str) -> None:  # noqa: ARG002  # LitServe's signature
        self.recipe = read_recipe()
        self.session = self.recipe.open()

    def decode_request(self, request: Annotated[bytes, Body(media_type="image/*")]) -> NDArray[Any]:
        return self.recipe.decode(request)

    def batch(self, inputs: list[NDArray[Any]]) -> list[NDArray[Any]]:
        return inputs

    def predict(self, frames: Any) -> Any:  # noqa: ANN401  # one frame, or a list where it batches
        if self.recipe.batch == 1:
            return predict(self.session, [frames])[0]
        return predict(self.session, frames)

    def unbatch(self, output: list[Any]) -> list[Any]:
        return output


def main() -> None:
    recipe = read_recipe()
    server = litserve.LitServer(
        Classifier(max_batch_size=recipe.batch, batch_timeout=FILL_SECONDS),
        accelerator="cpu",
        workers_per_device=recipe.workers,
        timeout=False,
        fast_queue=True,
    )
    server.run(
        host=HOST,
        port=recipe.port,
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )


if __name__ == "__main__":
    main()
