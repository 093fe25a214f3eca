"""The proof refuses a graph that is not the same network, and names the layer where it differs."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from torch import nn

from exporter.assemble import assemble
from exporter.errors import ProofError
from exporter.images import photographs
from exporter.network import Array, Network
from exporter.progress import SilentProgress
from exporter.proof import prove
from exporter.recipe import make_recipe
from exporter.recipe_tables import ProofRecipe
from exporter.sources.registry import load_network
from exporter.subject import ImageSubject
from exporter.writing import graph_digest
from tests.exporter.nets import LABELS, SIDE, ZeroPadded, save_weights, small

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]

BOUNDS = ProofRecipe(limit=4, largest=3)


class Reported(SilentProgress):
    """Keeps what it receives."""

    def __init__(self) -> None:
        super().__init__()
        self.received: list[tuple[float, str]] = []

    def advance(self, done: float, note: str = "") -> None:
        self.received.append((done, note))


@pytest.fixture
def network(tmp_path: Path) -> Network:
    return loaded("Small", small(), tmp_path)


def loaded(name: str, module: nn.Module, folder: Path) -> Network:
    """Return a module of `tests.exporter.nets` with its weights, as an export loads it."""
    recipe = make_recipe(
        {
            "source": f"python:tests.exporter.nets:{name}",
            "weights": save_weights(module, folder),
            "task": "classify",
            "name": "small",
            "labels": LABELS,
            "input": {"height": SIDE, "width": SIDE},
            "folder": folder,
        }
    )
    return load_network(recipe, SilentProgress())


def test_a_certificate_has_the_digest_of_the_graph(network: Network) -> None:
    model, _ = assemble(network)

    certificate = prove(model, ImageSubject.of(network, photographs(4)), BOUNDS, SilentProgress())

    assert certificate.graph_sha256 == graph_digest(model)
    assert certificate.batches == (1, 2, 3)
    assert certificate.max_difference < 1e-5
    assert (certificate.metric, certificate.agreement, certificate.images) == ("top1", 1, 4)


def test_a_changed_weight_is_found_and_its_layer_named(network: Network) -> None:
    model, _ = assemble(network)
    weights = next(t for t in model.graph.initializer if list(t.dims) == [16, 8, 3, 3])
    changed = numpy_helper.to_array(weights) * np.float32(1.1)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))

    with pytest.raises(ProofError, match=r"agree up to first\S*; the first .* is second"):
        prove(model, ImageSubject.of(network, photographs(4)), BOUNDS, SilentProgress())


class Sensitive(ImageSubject):
    """A source that rounding changes by 2 %."""

    def allowed_by_rounding(self, inputs: Array) -> float:  # noqa: ARG002
        return 0.02


def test_what_rounding_explains_is_allowed_unless_the_tolerance_is_stated(
    network: Network,
) -> None:
    model, _ = assemble(network)
    weights = next(t for t in model.graph.initializer if list(t.dims) == [16, 8, 3, 3])
    changed = numpy_helper.to_array(weights) * np.float32(1.02)
    weights.CopyFrom(numpy_helper.from_array(changed, weights.name))
    subject = Sensitive.of(network, photographs(4))
    progress = SilentProgress()

    certificate = prove(model, subject, BOUNDS, progress)

    assert 1e-3 < certificate.max_difference <= certificate.tolerance == 0.02
    (warning,) = progress.warnings
    assert "is more than 0.001. Rounding explains up to 0.02, by how much" in warning
    stated = ProofRecipe(limit=4, largest=3, tolerance=1e-3)
    with pytest.raises(ProofError, match=r"0\.001 is allowed"):
        prove(model, subject, stated, SilentProgress())


def test_a_rim_of_zeros_before_a_max_pooling_is_served_as_the_source_computes_it(
    tmp_path: Path,
) -> None:
    padded = loaded("ZeroPadded", ZeroPadded().eval(), tmp_path)
    model, _ = assemble(padded)
    subject = ImageSubject.of(padded, photographs(4))

    certificate = prove(model, subject, BOUNDS, SilentProgress())

    assert certificate.max_difference < 1e-4
    (pad,) = (node for node in model.graph.node if node.op_type == "Pad")
    del pad.input[3:]  # without its axes, ONNX Runtime 1.31 pads with -inf in place of 0
    with pytest.raises(ProofError, match=r"Without optimizations it differs by .*e-\d\d: one of"):
        prove(model, subject, BOUNDS, SilentProgress())


def test_outputs_that_depend_on_the_batch_are_refused(network: Network) -> None:
    model, _ = assemble(network)
    for node in model.graph.node:
        if "features" in node.output:
            node.output[0] = "alone"
    mean = onnx.helper.make_node("ReduceMean", ["alone", "axis"], ["batch_mean"], keepdims=1)
    mixed = onnx.helper.make_node("Add", ["alone", "batch_mean"], ["features"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), "axis"))
    model.graph.node.extend([mean, mixed])

    with pytest.raises(ProofError, match=r"depends on the others of its batch.*features"):
        prove(model, ImageSubject.of(network, photographs(4)), BOUNDS, SilentProgress())


def test_a_proof_reports_each_batch_size_and_each_image(network: Network) -> None:
    """A large network takes seconds for each of them."""
    model, _ = assemble(network)
    progress = Reported()

    prove(model, ImageSubject.of(network, photographs(4)), BOUNDS, progress)

    notes = [note for _, note in progress.received]
    assert [note[:8] for note in notes[:3]] == ["batch 1:", "batch 2:", "batch 3:"]
    assert notes[3:-1] == [f"{index} of 4 images" for index in (1, 2, 3, 4)]
    shares = [share for share, _ in progress.received]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_a_network_that_small_changes_of_pixels_change_is_refused_with_the_reason(
    tmp_path: Path,
) -> None:
    network = loaded("Sharp", small(), tmp_path)
    model, _ = assemble(network)

    with pytest.raises(ProofError, match=r"From the same pixels 100\.0% agree") as refused:
        prove(model, ImageSubject.of(network, photographs(40)), BOUNDS, SilentProgress())
    assert "have the same result, some with scores that differ by more than 0.05" in str(
        refused.value
    )
    assert "--images FOLDER" in str(refused.value)


def test_a_graph_that_differs_has_the_share_of_the_same_pixels_too(network: Network) -> None:
    """A reduced graph's features are not bounded: only the results show that it is another network."""
    model, _ = assemble(network)
    (kept,) = (node for node in model.graph.node if "logits" in node.output)
    kept.output[0] = "kept"
    turned = onnx.helper.make_node("Gather", ["kept", "turned_order"], ["logits"], axis=1)
    order = np.array([*range(1, len(LABELS)), 0])
    model.graph.initializer.append(numpy_helper.from_array(order, "turned_order"))
    model.graph.node.append(turned)

    with pytest.raises(ProofError, match=r"trained with\? From the same pixels 0\.0% agree\.$"):
        prove(model, ImageSubject.of(network, photographs(4)), BOUNDS, SilentProgress(), 0.99)
