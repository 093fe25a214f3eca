"""The process in which a network is tried: an order on standard input → three images, a verdict on standard output.

See `trial` for the other side.
"""

import contextlib
import ctypes
import json
import math
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from service.errors import FovealError
from service.runtime.contract import blank_input, check_contract
from service.runtime.device import Device, plan_session
from service.runtime.faults import is_out_of_memory, reason_of
from service.runtime.job import Tensor
from service.runtime.session import open_session, silence
from service.servable_file import read_card

try:
    import resource
except ImportError:  # Windows; there only the time is limited, by the other side
    resource = None  # type: ignore[assignment]

_DIE_WITH_PARENT = 1
"""PR_SET_PDEATHSIG of Linux."""


def main() -> None:
    """Try the network of the order."""
    order = json.loads(sys.stdin.buffer.read())
    silence()
    confine(float(order["seconds"]), int(order["memory_bytes"]))
    memory = f"{order['memory_bytes'] / 2**20:,.0f} MiB"
    sys.stdout.write(json.dumps({"reason": verdict(Path(order["path"]), order["outputs"], memory)}))


def verdict(path: Path, outputs: list[str], memory: str) -> str:
    """Return why a network fails in its first runs; empty where it does not."""
    try:
        run(path, outputs)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is the verdict
        # The runtime's error is the cause of ours.
        if any(map(is_out_of_memory, _causes(error))):
            return f"its trial needs more than {memory} of memory (FOVEAL_TRIAL_BYTES)."
        if isinstance(error, FovealError):
            return str(error).removeprefix(f"{path}: ")
        return f"its trial failed: {reason_of(error)}."
    return ""


def run(path: Path, outputs: list[str]) -> None:
    """Run a network on one thread, on a black, a white and a noisy image, each alone."""
    card = read_card(path)
    device = Device("cpu")
    session = open_session(path, device, plan_session(device, largest=1, threads=1, cache=Path()))
    check_contract(session, card, path, outputs)
    for image in images(blank_input(session, card)):
        session(image[None])


def images(blank: Tensor) -> Iterator[Tensor]:
    """Yield three inputs without the batch axis: the least, the largest and random values."""
    yield blank
    largest = 255 if blank.dtype == np.uint8 else 1
    yield np.full_like(blank, largest)
    random = np.random.default_rng(0)
    yield random.integers(0, largest, blank.shape, endpoint=True).astype(blank.dtype)


def confine(seconds: float, memory_bytes: int) -> None:
    """Limit this process for good: time, memory, what it may write, and what it leaves behind."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    with contextlib.suppress(
        OSError
    ):  # if memory runs out all the same, this process ends and not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    if resource is None:
        return
    signal.setitimer(signal.ITIMER_REAL, seconds)  # SIGALRM ends the process
    whole = math.ceil(seconds) + 1
    for name, limit in (
        ("RLIMIT_CPU", whole),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_AS", _address_space() + memory_bytes),
    ):
        kind = getattr(resource, name, None)
        if kind is not None:
            with contextlib.suppress(OSError, ValueError):  # a lower limit is set already
                resource.setrlimit(kind, (limit, limit))


def _address_space() -> int:
    """Return the bytes of address space in use, most of them the libraries' own."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 2**30
    return pages * os.sysconf("SC_PAGE_SIZE")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


if __name__ == "__main__":
    main()
