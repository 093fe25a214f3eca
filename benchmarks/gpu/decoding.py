"""How many images a second the cores decode, which bounds the service; and how many the GPU would decode."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from benchmarks.gpu.networks import network
from benchmarks.gpu.order import Order, Report
from benchmarks.gpu.photographs import request_body
from benchmarks.gpu.rates import rate_of
from service.imaging.decode import Limits, decode
from service.imaging.resize import fit_encoded
from service.runtime.host import granted_threads

TURN_SECONDS = 3.0
BATCHES, BATCHES_ON_CPU = (1, 8, 32, 64), (1, 4)
MODEL = "efficientnet-lite0"


def measure(order: Order, report: Report) -> None:
    """Measure decoding with resizing on the cores, then by torchvision on the device."""
    body, target = request_body(), network(MODEL, order.out).card.image_input
    limits = Limits()
    counts = sorted({1, max(1, granted_threads() // 2), granted_threads()})
    seconds = min(TURN_SECONDS, order.left(0.4) / len(counts))
    for threads in counts:
        rate = _on_threads(lambda: fit_encoded(body, target, limits), threads, seconds)
        report({"cores": {str(threads): round(rate, 1)}})
    try:
        import torch  # noqa: PLC0415  # it may be missing, which costs no more than this part
        from torchvision.io import ImageReadMode, decode_jpeg  # noqa: PLC0415
    except ImportError as error:
        report({"torchvision": f"not measured: {error}"})
        return
    data = torch.frombuffer(bytearray(body), dtype=torch.uint8)
    device = "cpu" if order.stand_in else "cuda"

    def decoded(count: int) -> Any:  # noqa: ANN401  # PyTorch may be missing
        given = [data] * count
        return decode_jpeg(given, mode=ImageReadMode.RGB, device=device)

    def frames(count: int) -> Any:  # noqa: ANN401
        planes = torch.stack(decoded(count)).float()
        side = target.shorter_side or target.height
        small = torch.nn.functional.interpolate(
            planes, size=(side, side * 4 // 3), mode="bicubic", antialias=True
        )
        if device == "cuda":
            torch.cuda.synchronize()
        return small

    truth, _ = decode(body, limits), None
    off = np.abs(_pixels(decoded(1)[0]).astype(int) - np.asarray(truth).astype(int))
    report({"gpu": {"off_mean": round(float(off.mean()), 3), "off_most": int(off.max())}})
    sizes = BATCHES_ON_CPU if order.stand_in else BATCHES
    work: dict[str, Callable[[int], Any]] = {"decoded": decoded, "decoded and resized": frames}
    for name, run in work.items():
        for size in sizes:
            left = order.left() / (len(sizes) * len(work))
            rate = rate_of(lambda run=run, size=size: run(size), size, min(TURN_SECONDS, left))
            report({"gpu": {name: {str(size): round(rate, 1)}}})


def _pixels(planes: Any) -> Any:  # noqa: ANN401  # PyTorch may be missing
    """Return a tensor (3, H, W) on any device as an array (H, W, 3)."""
    return planes.permute(1, 2, 0).cpu().numpy()


def _on_threads(run: Callable[[], object], threads: int, seconds: float) -> float:
    """Return how often a second threads together run it."""
    until = time.perf_counter() + seconds

    def pull(_: int) -> float:
        began, count = time.perf_counter(), 0
        while not count or time.perf_counter() < until:
            run()
            count += 1
        return count / (time.perf_counter() - began)

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(pull, range(threads)))
