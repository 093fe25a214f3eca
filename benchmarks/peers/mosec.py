"""mosec: HTTP in Rust sends batches over a Unix socket to Python processes; each decodes and runs."""

import sys
from typing import Any

from mosec import Server, Worker

from benchmarks.peers.recipe import HOST, PATIENCE_SECONDS, predict, read_recipe

QUEUE = 1024
SHORTEST_WAIT_MS = 1
"""The shortest time to fill a batch that mosec accepts."""


class Classifier(Worker):  # type: ignore[misc]  # mosec is installed in its own environment only
    def __init__(self) -> None:
        super().__init__()
        self.recipe = read_recipe()
        self.session = self.recipe.open()

    def deserialize(self, data: bytes) -> Any:  # noqa: ANN401  # mosec's signature
        return self.recipe.decode(data)

    def forward(self, data: Any) -> Any:  # noqa: ANN401  # mosec's signature: one frame, or a list where it batches
        if self.recipe.batch == 1:
            return predict(self.session, [data])[0]
        return predict(self.session, data)


def main() -> None:
    recipe = read_recipe()
    sys.argv[1:] = [
        *("--address", HOST, "--port", str(recipe.port), "--log-level", "warning"),
        *("--timeout", str(PATIENCE_SECONDS * 1000), "--capacity", str(QUEUE)),
    ]
    server = Server()
    server.append_worker(
        Classifier,
        num=recipe.workers,
        max_batch_size=recipe.batch,
        max_wait_time=SHORTEST_WAIT_MS,
        timeout=PATIENCE_SECONDS,
    )
    server.run()


if __name__ == "__main__":
    main()
