"""The choice of a GPU's layout: by time, among those that give the same outputs; kept from start to start."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.errors import ServableError
from service.runtime.device import LAYOUTS, Device, Layout, SessionPlan, plan_session
from service.runtime.job import Outputs, Tensor
from service.runtime.layouts import FIRST, OPENING_SECONDS, Layouts, fastest
from service.runtime.repository import Servable, scan_repository
from tests.servables import color_card, write_servable
from tests.service.runtime.clocks import ManualClock

LAST, FUSED = LAYOUTS[1:]
BATCH = np.zeros((2, 8, 8, 3), np.uint8)
GPU = Device("cuda", 0, "A card")


class Network:
    """Opens a network that takes as long in each layout as the test says, and answers as it says."""

    def __init__(
        self,
        clock: ManualClock,
        seconds: dict[Layout, float],
        *,
        outputs: dict[Layout, Outputs] | None = None,
        opening: dict[Layout, float] | None = None,
        broken: tuple[Layout, ...] = (),
    ) -> None:
        self.opened: list[Layout] = []
        self._clock, self._seconds = clock, seconds
        self._outputs, self._opening, self._broken = outputs or {}, opening or {}, broken

    def __call__(self, layout: Layout) -> Callable[[Tensor], Outputs]:
        self.opened.append(layout)
        self._clock.advance(self._opening.get(layout, 0.0))
        if layout in self._broken:
            raise ServableError(f"it does not load with {layout}")

        def run(batch: Tensor) -> Outputs:
            self._clock.advance(self._seconds[layout])
            return self._outputs.get(layout, {"logits": np.ones((len(batch), 3), np.float32)})

        return run


def seconds(first: float, last: float, fused: float) -> dict[Layout, float]:
    return dict(zip(LAYOUTS, (first, last, fused), strict=True))


@pytest.mark.parametrize(
    ("times", "chosen"),
    [((5.8, 5.0, 3.7), FUSED), ((3.8, 3.2, 7.2), LAST), ((3.0, 3.1, 2.9), FIRST)],
)
def test_the_fastest_serves_and_none_for_a_gain_within_the_noise(
    times: tuple[float, float, float], chosen: Layout
) -> None:
    clock = ManualClock()
    network = Network(clock, seconds(*(one / 1e3 for one in times)))

    assert fastest(network, BATCH, clock=clock) == chosen


@pytest.mark.parametrize(
    "wrong",
    [
        {"logits": np.full((2, 3), 1.02, np.float32)},
        {"logits": np.full((2, 3), np.nan, np.float32)},
        {"logits": np.ones((2, 4), np.float32)},
    ],
)
def test_a_faster_layout_with_other_outputs_is_refused(wrong: Outputs) -> None:
    clock = ManualClock()
    network = Network(clock, seconds(0.005, 0.005, 0.001), outputs={FUSED: wrong})

    assert fastest(network, BATCH, clock=clock) == FIRST


def test_a_mask_may_differ_in_single_places() -> None:
    mask = np.zeros((2, 100, 100), np.uint8)
    near, far = mask.copy(), mask.copy()
    near[0, 0, :10], far[0, :10] = 1, 1
    for other, chosen in ((near, FUSED), (far, FIRST)):
        clock = ManualClock()
        outputs: dict[Layout, Outputs] = {
            FIRST: {"mask": mask},
            LAST: {"mask": mask},
            FUSED: {"mask": other},
        }
        network = Network(clock, seconds(0.005, 0.005, 0.001), outputs=outputs)
        assert fastest(network, BATCH, clock=clock) == chosen


def test_a_layout_that_opens_slowly_or_not_at_all_is_left_out() -> None:
    for changes in ({"opening": {FUSED: OPENING_SECONDS + 1}}, {"broken": (FUSED,)}):
        clock = ManualClock()
        network = Network(clock, seconds(0.005, 0.005, 0.001), **changes)
        assert fastest(network, BATCH, clock=clock) == FIRST


def test_a_network_that_does_not_load_in_the_first_layout_is_refused() -> None:
    clock = ManualClock()
    network = Network(clock, seconds(0.005, 0.005, 0.001), broken=(FIRST,))

    with pytest.raises(ServableError, match="channels first"):
        fastest(network, BATCH, clock=clock)


def servable(root: Path) -> Servable:
    write_servable(root, card=color_card())
    ((one,), _) = scan_repository(root)
    return one


def choose(
    cache: Path, one: Servable, device: Device = GPU, largest: int = 4
) -> tuple[Layout, list[Layout]]:
    """Return what is chosen, and what was opened for it."""
    clock = ManualClock()
    network = Network(clock, seconds(0.005, 0.003, 0.001))

    def open_network(plan: SessionPlan) -> Callable[[Tensor], Outputs]:
        options = dict(plan.providers).get("CUDAExecutionProvider", {})
        fused = options.get("fuse_conv_bias") == "1"
        return network(FUSED if fused else LAST if options.get("prefer_nhwc") == "1" else FIRST)

    plan = plan_session(device, largest=largest, threads=1, cache=cache)
    chosen = Layouts(cache, clock).choose(
        one, device, plan, open_network, largest=largest, arithmetic=None
    )
    return chosen, network.opened


def test_a_choice_is_kept_for_the_same_network_on_the_same_card_only(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    assert choose(tmp_path / "cache", one) == (FUSED, list(LAYOUTS))
    assert choose(tmp_path / "cache", one) == (FUSED, [])
    for changes in ({"device": Device("cuda", 0, "Another card")}, {"largest": 8}):
        assert choose(tmp_path / "cache", one, **changes) == (FUSED, list(LAYOUTS))


def test_a_kept_file_that_says_something_else_is_measured_again(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    choose(tmp_path / "cache", one)
    (kept,) = (tmp_path / "cache").glob("*.txt")
    kept.write_bytes(b"\xff sideways")

    assert choose(tmp_path / "cache", one) == (FUSED, list(LAYOUTS))


def test_a_folder_that_can_not_be_written_costs_the_next_start_only(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")
    (tmp_path / "cache").write_text("a file in its place")

    assert choose(tmp_path / "cache", one) == (FUSED, list(LAYOUTS))


def test_tensorrt_chooses_for_itself(tmp_path: Path) -> None:
    one = servable(tmp_path / "models")

    assert choose(tmp_path / "cache", one, Device("tensorrt", 0, "A card")) == (FIRST, [])
