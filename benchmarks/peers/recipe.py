"""What every peer does with an image: the usual Pillow recipe, the same ONNX file, the top five classes.

It runs in the peers' environments, so it needs Pillow, NumPy and ONNX Runtime only. Peers differ only in how requests
reach it.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

VARIABLE = "BENCH_PEER"
"""The environment variable with the `Recipe` as JSON, for a peer's processes."""

HOST = "127.0.0.1"
TOP_K = 5
PATIENCE_SECONDS = 120
"""Timeout of a request, instead of the peer's default."""


@dataclass(frozen=True)
class Recipe:
    """How a peer is run: its port, its model, and the settings that are tuned.

    `threads` is ONNX Runtime's threads per run, `workers` the peer's processes (or threads, if it has only one
    process), `batch` the largest batch.
    """

    port: int
    model: str
    width: int
    height: int
    shorter_side: int
    interpolation: str
    cores: int
    threads: int
    workers: int
    batch: int

    def decode(self, body: bytes) -> NDArray[np.uint8]:
        return self.fit(Image.open(BytesIO(body)))

    def fit(self, opened: Image.Image) -> NDArray[np.uint8]:
        """Return the frame, uint8 (H, W, 3): decode all, resize all, crop the center, as torchvision's presets do."""
        image = opened.convert("RGB")
        scale = self.shorter_side / min(image.size)
        size = (round(image.width * scale), round(image.height * scale))
        image = image.resize(size, Image.Resampling[self.interpolation.upper()])
        left, top = (image.width - self.width) // 2, (image.height - self.height) // 2
        return np.asarray(image.crop((left, top, left + self.width, top + self.height)))

    def open(self) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self.threads
        # Spinning threads would take cores from the server's other threads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        return ort.InferenceSession(self.model, options, providers=["CPUExecutionProvider"])


def read_recipe() -> Recipe:
    return Recipe(**json.loads(os.environ[VARIABLE]))


def predict(
    session: ort.InferenceSession, frames: Sequence[NDArray[np.uint8]]
) -> list[list[dict[str, Any]]]:
    """Run one batch and return the top classes of each frame."""
    (probabilities,) = session.run(["probabilities"], {"image": np.stack(frames)})
    return [_best(row) for row in probabilities]


def _best(probabilities: NDArray[np.float32]) -> list[dict[str, Any]]:
    best = np.argsort(-probabilities)[:TOP_K]
    return [{"class_id": int(id_), "probability": float(probabilities[id_])} for id_ in best]
