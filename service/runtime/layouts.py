"""In which layout a network's convolutions run fastest on a GPU: measured, because none suits every network.

On an H200 at a batch of 32, in TF32: ResNet-50 takes 5.8 ms with channels first, 5.0 with channels last and 3.7 with
the bias fused; EfficientNet-Lite0 takes 3.8, 3.2 and 7.2, and needs seconds more to start in the second. In fp16 the
fused bias gave ResNet-50 other answers. In fp32 channels first were the fastest for both.
"""

import hashlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.logs import LOGGER
from service.runtime.alone import alone_in
from service.runtime.device import LAYOUTS, Arithmetic, Device, Layout, SessionPlan, laid_out
from service.runtime.job import Outputs, Run, Tensor
from service.runtime.kept_file import keep
from service.runtime.reference import made_frames
from service.runtime.repository import Servable
from service.runtime.session import RUNTIME_VERSION
from service.runtime.tuning import Clock, seconds_of

log = logging.getLogger(LOGGER)

FIRST: Layout = LAYOUTS[0]
GAIN = 1.05
"""Another layout must be faster by this factor."""
OPENING_SECONDS = 2.0
"""How long opening and the first run may take: cuDNN compiles kernels for some layouts, at each start and size."""
SAME = 1e-2
"""How far outputs may differ, as a share of their largest value: TF32 and fp16 round to ten bits."""
SAME_PLACES = 0.999
"""Which share of the places in an output of integers, such as a mask, must be equal."""
_FORMAT = "1"


@dataclass(frozen=True, slots=True)
class Layouts:
    """Chooses the layout of each network, and keeps the choices in a folder.

    Attributes:
        folder: of the choices, a file each; it is made when needed.
        clock: returns seconds.
    """

    folder: Path
    clock: Clock = field(default=time.perf_counter)

    def choose(
        self,
        servable: Servable,
        device: Device,
        plan: SessionPlan,
        open_network: Callable[[SessionPlan], Run],
        *,
        largest: int,
        arithmetic: Arithmetic | None,
    ) -> Layout:
        """Return the layout in which the network shall run; blocking.

        Args:
            servable: the network.
            device: the GPU.
            plan: how it is opened without graphs.
            open_network: opens it by a plan.
            largest: images in a batch at most.
            arithmetic: see `service.runtime.device.Arithmetic`.

        Raises:
            ServableError, DeviceError: it does not load with channels first.
        """
        if device.name != "cuda" or servable.card.input is None:
            return FIRST
        path = self.folder / f"{_key(servable, device, largest, arithmetic)}.txt"
        with alone_in(self.folder):  # several workers start at the same time
            chosen = _read(path)
            if chosen is None:
                frames = made_frames(servable.card.image_input)
                batch = np.resize(frames, (largest, *frames.shape[1:]))
                chosen = fastest(
                    lambda layout: open_network(laid_out(plan, layout)), batch, clock=self.clock
                )
                log.info("%s runs with %s on %s", servable.name, chosen, device.detail)
                keep(path, chosen, "layouts")
        return chosen


def fastest(open_as: Callable[[Layout], Run], batch: Tensor, *, clock: Clock) -> Layout:
    """Return the layout in which a batch takes the least time, among those that give the outputs of the first.

    Raises:
        ServableError, DeviceError: the network does not load in the first.
    """
    run = open_as(FIRST)
    expected = run(batch)
    best, chosen = seconds_of(run, batch, clock), FIRST
    for layout in LAYOUTS[1:]:
        began = clock()
        try:
            run = open_as(layout)
            found = run(batch)
        except Exception as error:  # noqa: BLE001  # ONNX Runtime raises untyped errors
            log.debug("%s is refused: %s", layout, error)
            continue
        if clock() - began > OPENING_SECONDS or not _same(found, expected):
            continue
        seconds = seconds_of(run, batch, clock)
        if seconds * GAIN < best:
            best, chosen = seconds, layout
    return chosen


def _same(found: Outputs, expected: Outputs) -> bool:
    return all(_near(found[name], rows) for name, rows in expected.items())


def _near(found: Tensor, expected: Tensor) -> bool:
    if found.shape != expected.shape:
        return False
    if not np.issubdtype(expected.dtype, np.floating):
        return bool(np.mean(found == expected) >= SAME_PLACES) if expected.size else True
    off = np.abs(found.astype(np.float64) - expected.astype(np.float64)).max(initial=0.0)
    return bool(off <= SAME * float(np.abs(expected).max(initial=0.0)))


def _key(servable: Servable, device: Device, largest: int, arithmetic: Arithmetic | None) -> str:
    """Return the digest of all on which a choice depends."""
    graph = servable.card.certificate.graph_sha256
    parts = (_FORMAT, RUNTIME_VERSION, device.detail, graph, str(largest), arithmetic or "")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _read(path: Path) -> Layout | None:
    try:
        kept = path.read_text(errors="replace")
    except OSError:
        return None
    return kept if kept in LAYOUTS else None
