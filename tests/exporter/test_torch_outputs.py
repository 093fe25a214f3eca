"""The tensors in whatever a module returns, and those of them that a task reads."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.errors import ExportError, GraphError, RecipeError
from exporter.network import Facts, Network
from exporter.progress import SilentProgress
from exporter.recipe import Task, make_recipe
from exporter.sessions import unoptimized_session
from exporter.torch_network import TorchModel, torch_network
from exporter.torch_outputs import choose_outputs, named_tensors
from exporter.tracing import PIXELS, capture
from tests.exporter.nets import SIDE, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]

A, B, C = torch.zeros(2, 3), torch.ones(2, 5), torch.ones(2, 7)


class Pair(NamedTuple):
    features: Tensor
    logits: Tensor


@dataclass
class Output:
    logits: Tensor
    loss: Tensor | None = None
    hidden: tuple[Any, ...] = ()


class Plain:
    def __init__(self) -> None:
        self.logits = A
        self.image_size = (1, 2)


class Returns(nn.Module):
    """The small network, whose logits are put into something."""

    def __init__(self, wrap: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.net, self.wrap = small(), wrap

    def forward(self, pixels: Tensor) -> Any:
        return self.wrap(self.net(pixels), pixels)


class Depends(nn.Module):
    """Its code looks at the values of the image."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.net, self.limit = small(), limit

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.net(pixels)
        return logits if float(pixels.mean()) < self.limit else logits * 2


def network_of(module: nn.Module, **fields: Any) -> Network:
    content = {"task": "classify", "name": "net", "input": {"height": SIDE, "width": SIDE}}
    recipe = make_recipe({"source": "python:x:y", **content, **fields})
    return torch_network(TorchModel(module, Facts("net", "here")), recipe, SilentProgress())


def test_tensors_are_found_with_their_paths_and_the_rest_is_left_out() -> None:
    output = {"loss": None, "logits": A, "hidden": (B, [C, 3, "text"]), "scale": 1.0}
    assert [name for name, _ in named_tensors(output)] == ["logits", "hidden.0", "hidden.1.0"]
    assert [name for name, _ in named_tensors(Output(A, None, (B,)))] == ["logits", "hidden.0"]
    assert [name for name, _ in named_tensors(Pair(B, A))] == ["features", "logits"]
    assert [name for name, _ in named_tensors(Plain())] == ["logits"]
    assert [name for name, _ in named_tensors((A, None, B))] == ["0", "2"]


@pytest.mark.parametrize(
    ("output", "task", "chosen"),
    [
        ({"features": B, "logits": A}, "classify", ("logits",)),
        ({"logits": B, "probs": A, "hidden": C}, "classify", ("probs", "logits")),
        ({"out": A, "aux": B}, "segment", ("out",)),
        ({"pred_logits": A, "pred_boxes": B}, "detect", ("pred_boxes", "pred_logits")),
        ({"scores": A, "boxes": B, "n": C}, "detect", ("boxes", "scores")),
        ({"last_hidden_state": A, "pooler_output": B}, "embed", ("pooler_output",)),
        ({"first": A, "second": B}, "classify", ("first", "second")),
        ((A, None, (B, C)), "classify", ("0", "2.0", "2.1")),
    ],
)
def test_a_task_reads_what_usually_has_its_outputs_names(
    output: object, task: Task, chosen: tuple[str, ...]
) -> None:
    assert choose_outputs(output, task, ()) == chosen


def test_stated_outputs_are_taken_in_their_order() -> None:
    output = {"a": A, "b": (B, C)}
    assert choose_outputs(output, "detect", ("b.1", "a")) == ("b.1", "a")
    with pytest.raises(RecipeError, match=r"--outputs c: the network's outputs are a, b\.0, b\.1"):
        choose_outputs(output, "detect", ("c",))


@pytest.mark.parametrize(
    ("output", "what"), [(None, r"nothing \(None\)"), ("text", "a str"), ({}, "a dict")]
)
def test_a_network_without_a_tensor_is_refused(output: object, what: str) -> None:
    with pytest.raises(GraphError, match=f"returns {what}, without a tensor"):
        network_of(Returns(lambda _logits, _pixels: output))


@pytest.mark.parametrize(
    "wrap",
    [
        lambda logits, pixels: {"logits": logits, "hidden_states": (pixels, pixels * 2)},
        lambda logits, pixels: {"loss": None, "features": pixels, "logits": logits},
        lambda logits, pixels: (logits, None, (pixels, {"a": pixels})),
        lambda logits, _pixels: [logits],
        lambda logits, _pixels: Output(logits),
        lambda logits, pixels: Pair(pixels.mean((2, 3)), logits),
    ],
)
def test_logits_are_found_in_whatever_a_network_returns(wrap: Any) -> None:
    network = network_of(Returns(wrap))
    pixels = torch.rand(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        right = small()(pixels).numpy()
    found = unoptimized_session(network.graph.draft()).run(None, {PIXELS: pixels.numpy()})
    np.testing.assert_allclose(found[0], right, atol=1e-5)
    np.testing.assert_allclose(network.reference.run(pixels.numpy())[0], right, atol=1e-6)


def test_probabilities_beside_their_logits_are_the_same_scores() -> None:
    module = Returns(lambda logits, _pixels: {"logits": logits, "scores": logits.softmax(1)})
    network = network_of(module)
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        right = small()(pixels).softmax(1).numpy()
    np.testing.assert_allclose(network.reference.run(pixels.numpy())[0], right, atol=1e-6)


def test_two_heads_named_logits_and_scores_are_asked_about() -> None:
    module = Returns(
        lambda logits, pixels: {
            "logits": logits,
            "scores": (logits.flip(1) + pixels.mean()).sigmoid(),
        }
    )
    with pytest.raises(RecipeError, match=r"scores .*logits .*could be the scores.*--outputs"):
        network_of(module)
    assert network_of(module, outputs=["logits"]).raw == ("raw_0",)


def test_one_of_several_outputs_is_named() -> None:
    module = Returns(lambda logits, pixels: (pixels.mean((2, 3)), logits))
    network = network_of(module, outputs=["1"])
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        right = small()(pixels).numpy()
    np.testing.assert_allclose(network.reference.run(pixels.numpy())[0], right, atol=1e-6)


def test_what_can_not_be_captured_is_recorded_where_every_image_goes_the_same_way() -> None:
    network = network_of(Depends(1e6))
    pixels = torch.rand(5, 3, SIDE, SIDE)
    with torch.inference_mode():
        right = small()(pixels).numpy()
    (found,) = unoptimized_session(network.graph.draft()).run(None, {PIXELS: pixels.numpy()})
    np.testing.assert_allclose(found, right, atol=1e-5)


def test_a_network_that_goes_another_way_for_another_image_is_refused() -> None:
    with pytest.raises(ExportError, match="can not capture this network"):
        network_of(Depends(0.75))


class Auxiliary(nn.Module):
    """Returns what `give` makes of the pixels and a first tensor that is no result."""

    def __init__(self, give: Callable[[Tensor], tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.first, self.give = nn.Conv2d(3, 6, 1), give

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return self.give(self.first(pixels))


def three(maps: Tensor) -> Tensor:
    return maps[:, :3]


def served_first(network: Network, pixels: Tensor) -> Any:
    session = unoptimized_session(network.graph.draft())
    return session.run([network.raw[0]], {PIXELS: pixels.numpy()})[0]


@pytest.mark.parametrize(
    ("task", "give", "right"),
    [
        (
            "classify",
            lambda maps: (maps.mean((2, 3)), maps[:, :3].mean((2, 3))),
            lambda maps: maps[:, :3].mean((2, 3)),
        ),
        ("classify", lambda maps: (maps, maps[:, :3].mean((2, 3))), None),
        ("segment", lambda maps: (maps, maps[:, :3]), three),
        ("segment", lambda maps: (maps.mean((2, 3)), maps[:, :3]), three),
    ],
)
def test_of_a_tuple_the_tensor_is_taken_that_fits_task_and_labels(
    task: Task, give: Any, right: Any
) -> None:
    module = Auxiliary(give)
    network = network_of(module, task=task, labels=["a", "b", "c"])
    pixels = torch.rand(3, 3, SIDE, SIDE)
    right = right or (lambda maps: maps[:, :3].mean((2, 3)))
    with torch.inference_mode():
        expected = right(module.first(pixels)).numpy()
    np.testing.assert_allclose(served_first(network, pixels), expected, atol=1e-5)
    np.testing.assert_allclose(network.reference.run(pixels.numpy())[0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("task", "give"),
    [
        ("classify", lambda maps: (maps[:, 3:].mean((2, 3)), maps[:, :3].mean((2, 3)))),
        ("segment", lambda maps: (maps[:, 3:], maps[:, :3])),
        ("segment", lambda maps: (maps[:, 3:], maps[:, :3, ::2, ::2])),
    ],
)
def test_a_tuple_of_which_several_tensors_fit_needs_an_option(task: Task, give: Any) -> None:
    module = Auxiliary(give)
    with pytest.raises(RecipeError, match=r"0 \(1, 3.*1 \(1, 3.*--outputs 0"):
        network_of(module, task=task, labels=["a", "b", "c"])
    network = network_of(module, task=task, labels=["a", "b", "c"], outputs=["1"])
    pixels = torch.rand(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        expected = module(pixels)[1].numpy()
    np.testing.assert_allclose(served_first(network, pixels), expected, atol=1e-5)


def test_vectors_of_two_lengths_need_an_option_where_no_labels_decide() -> None:
    module = Auxiliary(lambda maps: (maps.mean((2, 3)), maps[:, :3].mean((2, 3))))
    with pytest.raises(RecipeError, match=r"0 \(1, 6\), 1 \(1, 3\).*or give --labels"):
        network_of(module)


def test_scores_before_boxes_are_put_in_order() -> None:
    def give(maps: Tensor) -> tuple[Tensor, Tensor]:
        rows = maps.flatten(2).transpose(1, 2)
        return rows[..., :3].sigmoid(), rows[..., 2:6].sigmoid()

    module = Auxiliary(give)
    network = network_of(module, task="detect", labels=["a", "b", "c"])
    pixels = torch.rand(2, 3, SIDE, SIDE)
    with torch.inference_mode():
        scores, boxes = (one.numpy() for one in module(pixels))
    found = network.reference.run(pixels.numpy())
    np.testing.assert_allclose(found[0], boxes, atol=1e-6)
    np.testing.assert_allclose(found[1], scores, atol=1e-6)


class Checked(nn.Module):
    """Checks a tensor while it runs, as the attention of Deformable DETR does."""

    def __init__(self) -> None:
        super().__init__()
        self.net = small()

    def forward(self, pixels: Tensor) -> Tensor:
        sides = torch.tensor([[pixels.shape[2], pixels.shape[3]]])
        right = (sides[:, 0] * sides[:, 1]).sum() == SIDE * SIDE
        torch._check_tensor_all(right)  # noqa: SLF001 - what Transformers calls
        return cast("Tensor", self.net(pixels))


def test_a_network_that_checks_a_tensor_is_captured() -> None:
    pixels = torch.rand(3, 3, SIDE, SIDE)
    with torch.inference_mode():
        right = small()(pixels).numpy()
    model = capture(Checked().eval(), pixels, ("raw",))
    (found,) = unoptimized_session(model).run(None, {PIXELS: pixels.numpy()})
    np.testing.assert_allclose(found, right, atol=1e-5)
