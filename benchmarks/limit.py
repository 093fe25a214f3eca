"""The limit: the service's own decode, resize and network in one process without HTTP, as fast as they will go.

Runs as a program that is told what to do line by line, in JSON, and answers likewise; see `benchmarks.runner`. At its
start it tries ways of sharing the cores and sizes of batch, and keeps the fastest.
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

from service.card import INPUT_NAME, read_card
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded

TRIAL_SECONDS = 0.6
FINAL_SECONDS = 1.5
FINALISTS = 2
WORSE = 0.95
"""A larger batch that reaches less than this share of the best ends the search along that way."""

HINTS = {"fp32": "f32", "bf16": "bf16", "fp16": "f16", "int8": "f32"}
"""Precision as the service names it → as OpenVINO is told; an int8 file says itself where it is int8."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is run: a servable, its encoded images, and where. `images` empty: no decoding."""

    model: str
    images: tuple[str, ...]
    device: str
    precision: str
    cores: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How the cores are shared: processes × threads that pull images, each run with `intra` threads."""

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
class Pace:
    """How many images were run, and how many a second: each thread's own count over its own time, summed."""

    images: int
    per_second: float


def together(paces: Sequence[Pace]) -> Pace:
    return Pace(sum(pace.images for pace in paces), sum(pace.per_second for pace in paces))


class Crew(Protocol):
    """Something that runs as many images as it can."""

    def run(self, seconds: float) -> Pace:
        """Run for so long, and to the end of the batches begun."""

    def close(self) -> None:
        """Leave nothing running."""


class Threads:
    """Threads that each decode a batch and run it, again and again, on one session."""

    def __init__(self, work: Work, layout: Layout) -> None:
        self._session = open_session(work, intra=layout.intra)
        self._layout = layout
        self._make_frame = frames_of(work)
        self._run_batch()

    def run(self, seconds: float) -> Pace:
        paces: list[Pace] = []
        until = time.perf_counter() + seconds
        threads = [
            threading.Thread(target=self._pull, args=(until, paces))
            for _ in range(self._layout.threads)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return together(paces)

    def close(self) -> None:
        """Nothing runs between two calls of `run`."""

    def _pull(self, until: float, paces: list[Pace]) -> None:
        began = time.perf_counter()
        images = 0
        while (now := time.perf_counter()) < until or not images:
            self._run_batch()
            images += self._layout.batch
        now = time.perf_counter()
        paces.append(Pace(images, images / (now - began)))

    def _run_batch(self) -> None:
        frames = [self._make_frame() for _ in range(self._layout.batch)]
        self._session.run(None, {INPUT_NAME: np.stack(frames)})


class Processes:
    """The same in processes, for networks so small that the interpreter's lock is what limits."""

    def __init__(self, work: Work, layout: Layout) -> None:
        context = multiprocessing.get_context("spawn")
        own = Layout(1, layout.threads, layout.intra, layout.batch)
        self._ends: list[Connection] = []
        self._processes = []
        for _ in range(layout.processes):
            here, there = context.Pipe()
            process = context.Process(target=_obey, args=(there, work, own), daemon=True)
            process.start()
            self._ends.append(here)
            self._processes.append(process)
        for end in self._ends:
            end.recv()

    def run(self, seconds: float) -> Pace:
        for end in self._ends:
            end.send(seconds)
        return together([end.recv() for end in self._ends])

    def close(self) -> None:
        for end in self._ends:
            end.send(None)
        for process in self._processes:
            process.join(10)


def _obey(end: Connection, work: Work, layout: Layout) -> None:
    crew = Threads(work, layout)
    end.send("ready")
    while (seconds := end.recv()) is not None:
        end.send(crew.run(seconds))


def make_crew(work: Work, layout: Layout) -> Crew:
    return Processes(work, layout) if layout.processes > 1 else Threads(work, layout)


def frames_of(work: Work) -> Callable[[], NDArray[np.uint8]]:
    """Return what makes the next frame, uint8 (H, W, 3): decoded and resized from the next image, or always one."""
    target = read_card(Path(work.model)).image_input
    limits = Limits()
    if not work.images:
        gray = np.full((target.height, target.width, 3), 114, np.uint8)
        return lambda: gray
    bodies = [Path(file).read_bytes() for file in work.images]
    turn = iter(range(sys.maxsize))
    return lambda: fit_encoded(bodies[next(turn) % len(bodies)], target, limits)[0]


def layouts(work: Work, sizes: Sequence[int]) -> list[list[Layout]]:
    """Return the ways to try, each with its batches ascending."""
    cores = work.cores
    if work.device in {"cuda", "tensorrt"}:
        ways = [(1, cores, 1), (1, 2 * cores, 1)]
    else:
        ways = [(1, cores, 1), (1, 1, cores), (cores, 1, 1)]
    return [[Layout(*way, size) for size in sizes] for way in dict.fromkeys(ways)]


def fastest(work: Work, sizes: Sequence[int]) -> tuple[Layout, dict[str, float]]:
    """Return the fastest layout and what each one that was tried reached, in images a second."""
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
    crew = make_crew(work, layout)
    try:
        return crew.run(seconds).per_second
    finally:
        crew.close()


def _name(layout: Layout) -> str:
    return "processes={processes} threads={threads} intra={intra} batch={batch}".format(
        **asdict(layout)
    )


class Alone:
    """One image after the other, each with all cores: the least time a lone client can wait."""

    def __init__(self, work: Work) -> None:
        self._make_frame = frames_of(work)
        sessions = [
            open_session(work, intra=work.cores, spinning=spinning) for spinning in (False, True)
        ]
        trials = [(self._times_ms(session, TRIAL_SECONDS), session) for session in sessions]
        self._session = min(trials, key=lambda trial: statistics.median(trial[0]))[1]

    def run(self, seconds: float) -> list[float]:
        """Return the times in ms, ascending."""
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
    """Obey: the first line is the work, each further one says what to run and for how long."""
    given = json.loads(sys.stdin.readline())
    sizes, alone = given.pop("sizes"), given.pop("alone")
    work = Work(**{**given, "images": tuple(given["images"])})
    if alone:
        runner = Alone(work)
        _say({"ready": "all cores on one image"})
        for line in sys.stdin:
            times = runner.run(json.loads(line)["seconds"])
            _say({"times_ms": times})
        return
    layout, tried = fastest(work, sizes)
    crew = make_crew(work, layout)
    _say({"ready": _name(layout), "tried": tried})
    for line in sys.stdin:
        pace = crew.run(json.loads(line)["seconds"])
        _say({"images": pace.images, "images_per_second": pace.per_second})
    crew.close()


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
