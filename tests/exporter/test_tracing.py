"""PyTorch modules as graphs and as references."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.errors import GraphError
from exporter.graph import with_outputs
from exporter.recipe import Pixels
from exporter.sessions import unoptimized_session
from exporter.tracing import (
    PIXELS,
    TorchReference,
    as_tuple,
    first_run,
    layer_outputs,
    run_module,
    trace,
)
from exporter.transforms import plain_transform
from service.card import ImageInput
from tests.exporter.exporting import some_frames
from tests.exporter.graphs import normal
from tests.exporter.nets import SIDE, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]


class OnGpu(nn.Module):
    """Moves its input to a GPU, but not its weights, so that it runs on no machine."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.ones(3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.cuda() * self.weights


FRAME = ImageInput(height=SIDE, width=SIDE, resize="stretch")


class Branching(nn.Module):
    """Depends on the values of its input in a way that can not be captured."""

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels if pixels.sum() > 0 else pixels[:, :1]


class Unrecorded(nn.Module):
    """Refuses PyTorch's older way, which records one run."""

    def forward(self, pixels: Tensor) -> Tensor:
        if torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
            raise RuntimeError("this run is recorded")
        return pixels.mean(dim=(2, 3))


def test_a_traced_module_computes_the_same_at_another_batch() -> None:
    module = small()
    traced = trace(module, FRAME, Pixels())
    assert (traced.outputs, traced.dims) == (("raw_0",), ((1, 4),))
    pixels = normal(3, 3, SIDE, SIDE)

    (found,) = unoptimized_session(traced.graph.draft()).run(None, {PIXELS: pixels})

    np.testing.assert_allclose(found, run_module(module, pixels)[0], atol=1e-5)


class OtherFloats(nn.Module):
    """A convolution and a linear layer in other floats than the images."""

    def __init__(self, *, convolution: torch.dtype, linear: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.types = (convolution, linear)
        self.first = nn.Conv2d(3, 4, 3).to(convolution)
        self.last = nn.Linear(4, 2).to(linear)

    def forward(self, images: Tensor) -> Tensor:
        convolution, linear = self.types
        pooled = self.first(images.to(convolution)).mean((2, 3))
        output: Tensor = self.last(pooled.to(linear))
        return output


@pytest.mark.parametrize(
    ("convolution", "linear"),
    [(torch.float16, torch.float16), (torch.float32, torch.float64)],
)
def test_outputs_in_other_floats_become_float32(
    convolution: torch.dtype, linear: torch.dtype
) -> None:
    module = OtherFloats(convolution=convolution, linear=linear).eval()
    traced = trace(module, FRAME, Pixels())
    pixels = normal(3, 3, SIDE, SIDE)

    session = unoptimized_session(with_outputs(traced.graph.draft(), traced.outputs))
    (found,) = session.run(None, {PIXELS: pixels})
    (expected,) = run_module(module, pixels)

    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize(
    ("convolution", "linear", "words"),
    [
        (torch.float64, torch.float64, "in double"),
        (torch.bfloat16, torch.float32, "in bfloat16"),
        (torch.float32, torch.bfloat16, "in bfloat16"),
    ],
)
def test_layers_that_onnx_runtime_lacks_are_refused(
    convolution: torch.dtype, linear: torch.dtype, words: str
) -> None:
    module = OtherFloats(convolution=convolution, linear=linear).eval()

    with pytest.raises(GraphError, match=f"{words}.*model.float"):
        trace(module, FRAME, Pixels())


def test_a_module_that_does_not_run_on_its_input_names_the_options() -> None:
    with pytest.raises(
        GraphError, match=r"does not run on \(2, 32, 32, 3\).*--layout and --color right"
    ):
        trace(small(), FRAME, Pixels(layout="NHWC"))


def test_a_module_of_four_channels_is_refused_in_words() -> None:
    with pytest.raises(
        GraphError, match=r"reads 4 channels, and images have one \(gray\) or three"
    ):
        trace(nn.Conv2d(4, 2, 3).eval(), FRAME, Pixels())


def test_a_module_that_can_not_be_captured_is_refused_with_the_reason() -> None:
    with pytest.raises(GraphError, match=r"can not capture this network: \S"):
        trace(Branching(), FRAME, Pixels())


def test_a_module_that_can_be_captured_is_not_recorded() -> None:
    assert trace(Unrecorded(), FRAME, Pixels()).dims == ((1, 3),)


def test_every_layer_s_output_comes_in_the_order_of_the_run() -> None:
    names = [name for name, _ in layer_outputs(small(), normal(1, 3, SIDE, SIDE))]
    assert names.index("first.0") < names.index("first") < names.index("classifier")


def test_outputs_in_any_container_are_a_tuple() -> None:
    one, other = torch.zeros(1), torch.ones(1)
    assert as_tuple(one) == (one,)
    assert as_tuple([one, other]) == as_tuple({"a": one, "b": other}) == (one, other)


def test_a_reference_has_own_outputs_only_where_the_framework_postprocesses() -> None:
    transform = plain_transform(FRAME, Pixels())
    reference = TorchReference("PyTorch", small(), Pixels(), transform)
    assert reference.own_outputs(b"") is None
    assert reference.pixels_of_frames(some_frames(2, SIDE)).shape == (2, 3, SIDE, SIDE)


def test_code_that_needs_a_gpu_is_told_from_a_wrong_size() -> None:
    with pytest.raises(
        GraphError, match=r"remove what moves values to a GPU.*\.cuda\(\)"
    ) as refused:
        first_run(OnGpu(), torch.zeros(2, 3, SIDE, SIDE))
    assert "--height" not in str(refused.value)
