"""How many images a second torchvision decodes on the GPU by nvJPEG: the way past the limit of the cores."""

from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg

from benchmarks.gpu.networks import network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.photographs import request_body
from benchmarks.gpu.rates import TURN_SECONDS, rate_of
from benchmarks.gpu.steps import MEASURED

BATCHES, BATCHES_ON_CPU = (1, 8, 32, 64), (1, 4)


class Decoder:
    """Decodes one JPEG many times at once, and fits it for a network.

    Args:
        body: the JPEG.
        side: of the resized image's shorter side.
        device: `cuda`, where nvJPEG decodes, or `cpu`.
    """

    def __init__(self, body: bytes, side: int, device: str) -> None:
        self._data = torch.frombuffer(bytearray(body), dtype=torch.uint8)
        self._side = side
        self._device = device

    def decode(self, count: int) -> list[torch.Tensor]:
        """Return images, uint8 (3, H, W) on the device."""
        planes: list[torch.Tensor] = decode_jpeg(
            [self._data] * count, mode=ImageReadMode.RGB, device=self._device
        )
        self._wait()
        return planes

    def fit(self, count: int) -> torch.Tensor:
        """Return images with the shorter side resized, float32 (N, 3, h, w)."""
        planes = torch.stack(self.decode(count)).float()
        height, width = planes.shape[2:]
        scale = self._side / min(height, width)
        small = torch.nn.functional.interpolate(
            planes,
            size=(round(height * scale), round(width * scale)),
            mode="bicubic",
            antialias=True,
        )
        self._wait()
        return small

    def _wait(self) -> None:
        if self._device == "cuda":
            torch.cuda.synchronize()


def measure(order: Order, report: Report) -> None:
    """Measure decoding alone, and with resizing; and how far the pixels are from Pillow's."""
    body, target = request_body(), network(MEASURED[0], order.out).card.image_input
    device = "cpu" if order.stand_in else "cuda"
    decoder = Decoder(body, target.shorter_side or target.height, device)
    off = np.abs(_pixels(decoder.decode(1)[0]) - _truth(body))
    report({"off_mean": round(float(off.mean()), 3), "off_most": int(off.max())})
    sizes = BATCHES_ON_CPU if order.stand_in else BATCHES
    work: dict[str, Callable[[int], object]] = {
        "decoded": decoder.decode,
        "decoded and resized": decoder.fit,
    }
    turns = [(name, size) for size in sizes for name in work]
    for index, (name, size) in enumerate(turns):
        seconds = min(TURN_SECONDS, order.left() / (len(turns) - index))
        rate = rate_of(lambda: work[name](size), size, seconds)  # noqa: B023  # it runs at once
        report({"rates": {name: {str(size): round(rate, 1)}}})


def _truth(body: bytes) -> NDArray[Any]:
    with Image.open(BytesIO(body)) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def _pixels(planes: torch.Tensor) -> NDArray[Any]:
    """Return an image (3, H, W) on any device as an array (H, W, 3)."""
    found: NDArray[Any] = planes.permute(1, 2, 0).cpu().numpy().astype(int)
    return found
