"""The contenders and how each is started: the service, the peers, the echo."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from service.card import Card

ROOT = Path(__file__).parents[1]
CACHE = ROOT / ".cache" / "bench"

FOVEAL, FOVEAL_ON_CPU = "foveal", "foveal on plain CPU"
FOVEAL_IN_PROCESSES = "foveal with a worker a core"
FOVEAL_FAST = "foveal fast"
LIMIT, LIMIT_UNDECODED, LIMIT_ONE_BY_ONE = "limit", "limit without decoding", "limit one by one"
ECHO = "FastAPI echo"
RECIPE_VARIABLE = "BENCH_PEER"
"""The same as in `benchmarks.peers.recipe`, which only the peers' environments import."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A peer's settings that are tuned: ONNX Runtime's threads per run, the peer's processes, its largest batch."""

    threads: int
    workers: int
    batch: int = 1

    def __str__(self) -> str:
        return f"threads={self.threads} workers={self.workers} batch={self.batch}"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another project's server, in its own virtual environment."""

    name: str
    package: str
    extras: tuple[str, ...]
    command: Callable[[str, int], list[str]]
    """(its Python, port) → the command that starts it."""
    path: str
    sweep: Callable[[int], Sequence[Setting]]
    """Number of cores → the settings to try; the first one is used if none was tried."""

    @property
    def python(self) -> Path:
        return CACHE / self.package / "bin" / "python"


def _module(name: str) -> Callable[[str, int], list[str]]:
    return lambda python, _: [python, "-m", f"benchmarks.peers.{name}"]


def _bentoml(python: str, port: int) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [python, "-m", "bentoml", "serve", "benchmarks.peers.bentoml:Classifier", *where]


def _batching(cores: int) -> list[Setting]:
    return [*(Setting(1, cores, batch) for batch in (1, 4, 16)), Setting(cores, 1)]


def _unbatched(cores: int) -> list[Setting]:
    """Return three settings: one process per core, threads in one process, all cores in each run."""
    return [Setting(1, cores), Setting(1, 1), Setting(cores, 1)]


PEERS = (
    Peer("mosec", "mosec", (), _module("mosec"), "/inference", _batching),
    Peer("LitServe", "litserve", (), _module("litserve"), "/predict", _batching),
    Peer("BentoML", "bentoml", (), _bentoml, "/predict", _unbatched),
    Peer("KServe", "kserve", (), _module("kserve"), "/v1/models/model:predict", _unbatched),
    Peer(
        "naive FastAPI", "fastapi", ("uvicorn[standard]",), _module("naive"), "/predict", _unbatched
    ),
)
PEER_NAMES = tuple(peer.name for peer in PEERS)
INT8_FILE = "int8 file"


def with_int8_file(name: str) -> str:
    """Return the name of a contender that runs the variant in int8 in place of the servable."""
    return f"{name}, {INT8_FILE}"


PEER_NAMES_IN_INT8 = tuple(with_int8_file(name) for name in PEER_NAMES)


def on_device(name: str, device: str | None) -> str:
    """Return the name of a contender that is measured on several devices."""
    return f"{name}, {device}" if device else name


def limit_of(name: str, clients: int) -> str:
    """Return the limit to compare a contender with: on the same device, for one client or for many."""
    return on_device(LIMIT_ONE_BY_ONE if clients == 1 else LIMIT, name.partition(", ")[2])


def foveal_command(port: int) -> list[str]:
    """Return `foveal serve` as users start it."""
    script = Path(sys.executable).with_name("foveal")
    program = [str(script)] if script.exists() else [sys.executable, "-m", "service.cli"]
    return [*program, "serve", "--port", str(port)]


def echo_command(port: int) -> list[str]:
    where = ["--host", "127.0.0.1", "--port", str(port)]
    return [sys.executable, "-m", "uvicorn", "benchmarks.peers.echo:app", "--no-access-log", *where]


def recipe_environment(
    model: Path, card: Card, setting: Setting, *, port: int, cores: int
) -> Mapping[str, str]:
    """Return the environment variables that configure a peer's processes."""
    image = card.image_input
    recipe = {
        "port": port,
        "model": str(model),
        "width": image.width,
        "height": image.height,
        "shorter_side": image.shorter_side or max(image.width, image.height),
        "interpolation": image.interpolation,
        "cores": cores,
        **asdict(setting),
    }
    return {
        RECIPE_VARIABLE: json.dumps(recipe),
        "PYTHONPATH": str(ROOT),
        "BENTOML_DO_NOT_TRACK": "True",
    }
