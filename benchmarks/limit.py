"""The limit: the service's own decode, resize and network without HTTP, as fast as possible.

This program reads JSON commands from stdin, one per line, and answers each with one JSON line; see `benchmarks.runner`.
At its start it tries several ways to share the cores and several batch sizes, and keeps the fastest.
"""

import json
import multiprocessing
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from service.card import INPUT_NAME
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.servable_file import read_card

TRIAL_SECONDS = 0.6
FINAL_SECONDS = 1.5
FINALISTS = 2
WORSE = 0.95
"""The search stops at a batch size that is slower than this share of the best rate."""

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""The service's name of a precision → OpenVINO's. An int8 file marks its int8 layers itself."""


@dataclass(frozen=True, slots=True)
class Work:
    """The servable to run, its encoded images, and the device. Without `images` nothing is decoded."""

    model: str
    images: tuple[str, ...]
    device: str
    precision: str
    cores: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the cores are shared: processes × threads per process; each run uses `intra` threads."""

    processes: int
    threads: int
    intra: int
    batch: int


def open_session(work: Work, *, intra: int, spinning: bool = False) -> ort.InferenceSession:
    """Return a plain session on the device and in the precision that the service uses."""
    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads = intra
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spinning)))
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    if work.device == "openvino":
        options.add_provider_for_devices([_openvino()], _openvino_options(work, intra))
        return ort.InferenceSession(work.model, options)
    if work.device in {"cuda", "tensorrt"}:
        ort.preload_dlls(cuda=True, cudnn=True, directory="")
    return ort.InferenceSession(work.model, options, providers=PROVIDERS[work.device](work))


def _tensorrt(work: Work) -> list[Any]:
    cache = str(Path(work.model).parent)
    engines = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache}
    half = {"trt_fp16_enable": "1"} if work.precision == "fp16" else {}
    return [("TensorrtExecutionProvider", engines | half), "CUDAExecutionProvider"]


PROVIDERS: dict[str, Callable[[Work], list[Any]]] = {
    "cpu": lambda _: ["CPUExecutionProvider"],
    "cuda": lambda _: ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": _tensorrt,
}


def _openvino() -> Any:  # noqa: ANN401  # ONNX Runtime ships no types
    import onnxruntime_ep_openvino as plugin  # noqa: PLC0415  # installed on x86-64 only

    if not any(device.ep_name == plugin.get_ep_name() for device in ort.get_ep_devices()):
        ort.register_execution_provider_library("limit_openvino", plugin.get_library_path())
    return next(
        device
        for device in ort.get_ep_devices()
        if device.ep_name == plugin.get_ep_name() and device.ep_metadata.get("ov_device") == "CPU"
    )


def _openvino_options(work: Work, intra: int) -> dict[str, str]:
    cpu = {
        "INFERENCE_PRECISION_HINT": HINTS[work.precision],
        "INFERENCE_NUM_THREADS": str(work.cores),
        "NUM_STREAMS": str(max(1, work.cores // intra)),
    }
    return {"load_config": json.dumps({"CPU": cpu})}


@dataclass(frozen=True, slots=True)
class Rate:
    """The number of images that were run, and images per second, summed over the threads."""

    images: int
    per_second: float


def sum_of(rates: Sequence[Rate]) -> Rate:
    return Rate(sum(rate.images for rate in rates), sum(rate.per_second for rate in rates))


class Pool(Protocol):
    """Runs as many images as possible."""

    def run(self, seconds: float) -> Rate:
        """Run for this time, then finish the batches that have begun."""

    def close(self) -> None:
        """End all threads and processes."""


class Threads:
    """Threads on one session; each repeatedly decodes a batch and runs it."""

    def __init__(self, work: Work, layout: Layout) -> None:
        self._session = open_session(work, intra=layout.intra)
        self._layout = layout
        self._make_frame = frames_of(work)
        self._run_batch()

    def run(self, seconds: float) -> Rate:
        rates: list[Rate] = []
        until = time.perf_counter() + seconds
        threads = [
            threading.Thread(target=self._pull, args=(until, rates))
            for _ in range(self._layout.threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return sum_of(rates)

    def close(self) -> None:
        """Do nothing: no thread runs between two calls of `run`."""

    def _pull(self, until: float, rates: list[Rate]) -> None:
        began = time.perf_counter()
        images = 0
        while (now := time.perf_counter()) < until or not images:
            self._run_batch()
            images += self._layout.batch
        now = time.perf_counter()
        rates.append(Rate(images, images / (now - began)))

    def _run_batch(self) -> None:
        frames = [self._make_frame() for _ in range(self._layout.batch)]
        self._session.run(None, {INPUT_NAME: np.stack(frames)})


class Processes:
    """The same in several processes, for networks so small that the interpreter's lock is the limit."""

    def __init__(self, work: Work, layout: Layout) -> None:
        context = multiprocessing.get_context("spawn")
        own = Layout(1, layout.threads, layout.intra, layout.batch)
        self._ends: list[Connection] = []
        self._processes = []
        for _ in range(layout.processes):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, work, own), daemon=True)
            process.start()
            self._ends.append(here)
            self._processes.append(process)
        for end in self._ends:
            end.recv()

    def run(self, seconds: float) -> Rate:
        for end in self._ends:
            end.send(seconds)
        return sum_of([end.recv() for end in self._ends])

    def close(self) -> None:
        for end in self._ends:
            end.send(None)
        for process in self._processes:
            process.join(10)


def _serve(end: Connection, work: Work, layout: Layout) -> None:
    pool = Threads(work, layout)
    end.send("ready")
    while (seconds := end.recv()) is not None:
        end.send(pool.run(seconds))


def make_pool(work: Work, layout: Layout) -> Pool:
    return Processes(work, layout) if layout.processes > 1 else Threads(work, layout)


def frames_of(work: Work) -> Callable[[], NDArray[np.uint8]]:
    """Return a function that makes frames, uint8 (H, W, 3): from the next image, or always the same gray frame."""
    target = read_card(Path(work.model)).image_input
    limits = Limits()
    if not work.images:
        gray = np.full((target.height, target.width, 3), 114, np.uint8)
        return lambda: gray
    bodies = [Path(file).read_bytes() for file in work.images]
    turn = iter(range(sys.maxsize))
    return lambda: fit_encoded(bodies[next(turn) % len(bodies)], target, limits)[0]


def layouts(work: Work, sizes: Sequence[int]) -> list[list[Layout]]:
    """Return the ways to share the cores; each is a list of layouts with ascending batch sizes."""
    cores = work.cores
    if work.device in {"cuda", "tensorrt"}:
        ways = [(1, cores, 1), (1, 2 * cores, 1)]
    else:
        ways = [(1, cores, 1), (1, 1, cores), (cores, 1, 1)]
    return [[Layout(*way, size) for size in sizes] for way in dict.fromkeys(ways)]


def fastest(work: Work, sizes: Sequence[int]) -> tuple[Layout, dict[str, float]]:
    """Return the fastest layout, and the images per second of each layout that was tried."""
    tried: dict[Layout, float] = {}
    for way in layouts(work, sizes):
        best = 0.0
        for layout in way:
            rate = _try(work, layout, TRIAL_SECONDS)
            tried[layout] = rate
            if rate < best * WORSE:
                break
            best = max(best, rate)
    finalists = sorted(tried, key=lambda layout: -tried[layout])[:FINALISTS]
    winner = max(finalists, key=lambda layout: _try(work, layout, FINAL_SECONDS))
    return winner, {_name(layout): round(rate, 2) for layout, rate in tried.items()}


def _try(work: Work, layout: Layout, seconds: float) -> float:
    pool = make_pool(work, layout)
    try:
        return pool.run(seconds).per_second
    finally:
        pool.close()


def _name(layout: Layout) -> str:
    return "processes={processes} threads={threads} intra={intra} batch={batch}".format(
        **asdict(layout)
    )


class OneByOne:
    """One image after the other, each with all cores: the least latency for a single client."""

    def __init__(self, work: Work) -> None:
        self._make_frame = frames_of(work)
        sessions = [
            open_session(work, intra=work.cores, spinning=spinning) for spinning in (False, True)
        ]
        trials = [(self._times_ms(session, TRIAL_SECONDS), session) for session in sessions]
        self._session = min(trials, key=lambda trial: statistics.median(trial[0]))[1]

    def run(self, seconds: float) -> list[float]:
        """Return the milliseconds of each image, ascending."""
        return sorted(self._times_ms(self._session, seconds))

    def _times_ms(self, session: ort.InferenceSession, seconds: float) -> list[float]:
        session.run(None, {INPUT_NAME: self._make_frame()[None]})
        times: list[float] = []
        until = time.perf_counter() + seconds
        while time.perf_counter() < until or not times:
            began = time.perf_counter()
            session.run(None, {INPUT_NAME: self._make_frame()[None]})
            times.append((time.perf_counter() - began) * 1e3)
        return times


def main() -> None:
    """Read commands: the first line is the work, each further line the seconds to run."""
    given = json.loads(sys.stdin.readline())
    sizes, alone = given.pop("sizes"), given.pop("alone")
    work = Work(**{**given, "images": tuple(given["images"])})
    if alone:
        runner = OneByOne(work)
        _send({"ready": "all cores on one image"})
        for line in sys.stdin:
            times = runner.run(json.loads(line)["seconds"])
            _send({"times_ms": times})
        return
    layout, tried = fastest(work, sizes)
    pool = make_pool(work, layout)
    _send({"ready": _name(layout), "tried": tried})
    for line in sys.stdin:
        rate = pool.run(json.loads(line)["seconds"])
        _send({"images": rate.images, "images_per_second": rate.per_second})
    pool.close()


def _send(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
