"""Networks of Transformers as plain modules; networks of the same shape stand for them."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from exporter.errors import SourceError
from exporter.recipe import Pixels
from exporter.sessions import unoptimized_session
from exporter.sources.transformers_modules import (
    BoxesAndLogits,
    Logits,
    QueryMaps,
    first_outputs,
    raw_module,
)
from exporter.tracing import PIXELS, trace
from service.card import ImageInput

FRAME = ImageInput(height=8, width=12, resize="stretch")


class Answers(nn.Module):
    """A network that answers with these tensors, once for each image."""

    def __init__(
        self, outputs: dict[str, Tensor], kind: str = "net", channels: int | None = None
    ) -> None:
        super().__init__()
        self.config: Any = SimpleNamespace(model_type=kind)
        if channels is not None:
            self.config.num_channels = channels
        self.outputs = outputs
        self.seen: Tensor | None = None

    def forward(self, pixel_values: Tensor) -> Any:
        self.seen = pixel_values
        count = len(pixel_values)
        return Found(
            {name: one.expand(count, *one.shape[1:]) for name, one in self.outputs.items()}
        )


class Found(dict[str, Tensor]):
    """As the library's outputs: a mapping whose items are attributes too."""

    def __getattr__(self, name: str) -> Tensor:
        return self[name]


def pixels(count: int = 1) -> Tensor:
    return torch.zeros(count, 3, 8, 12)


SCORES, MAPS = torch.rand(1, 5), torch.rand(1, 5, 2, 3)
QUERIES, BOXES = torch.rand(1, 7, 5), torch.rand(1, 7, 4)


def test_scores_and_maps_are_the_logits() -> None:
    for task, logits in (("classify", SCORES), ("segment", MAPS)):
        module = raw_module(Answers({"logits": logits}), cast("Any", task), FRAME)

        assert type(module) is Logits
        assert torch.equal(module(pixels()), logits)


def test_a_detector_gives_boxes_before_logits() -> None:
    module = raw_module(Answers({"logits": QUERIES, "pred_boxes": BOXES}), "detect", FRAME)

    assert type(module) is BoxesAndLogits
    boxes, logits = module(pixels())
    assert torch.equal(boxes, BOXES)
    assert torch.equal(logits, QUERIES)


@pytest.mark.parametrize(
    ("task", "outputs", "needed"),
    [
        ("classify", {"logits": MAPS}, r"logits \(1, 5, 2, 3\) for one image; --task classify needs logits \(N, K\)"),
        ("segment", {"logits": SCORES}, r"needs logits \(N, K, h, w\), or class_queries_logits"),
        ("segment", {"logits": QUERIES, "pred_boxes": BOXES}, "--task segment needs"),
        ("detect", {"logits": QUERIES}, r"needs pred_boxes \(N, Q, 4\)"),
        ("detect", {"logits": SCORES, "pred_boxes": SCORES}, "--task detect needs"),
        ("detect", {"logits": SCORES, "pred_boxes": BOXES}, "--task detect needs"),
        ("classify", {"last_hidden_state": QUERIES}, r"Answers returns last_hidden_state \(1, 7, 5\)"),
    ],
)  # fmt: skip
def test_a_network_without_the_task_s_outputs_is_refused_with_its_own(
    task: Any, outputs: dict[str, Tensor], needed: str
) -> None:
    with pytest.raises(SourceError, match=needed):
        raw_module(Answers(outputs), task, FRAME)


def test_the_first_image_is_black_at_the_input_size() -> None:
    network, gray = Answers({"logits": SCORES}), Answers({"logits": SCORES}, channels=1)

    first_outputs(network, FRAME)
    first_outputs(gray, FRAME)

    assert network.seen is not None
    assert gray.seen is not None
    assert torch.equal(network.seen, pixels())
    assert gray.seen.shape == (1, 1, 8, 12)


class Fails(nn.Module):
    config = SimpleNamespace(model_type="net")

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def forward(self, pixel_values: Tensor) -> Any:  # noqa: ARG002 - as the library calls it
        raise self.error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("needs input_ids\nand more"), r"image of 8×12 alone: needs input_ids\. If"),
        (KeyError(), "alone: KeyError"),
    ],
)
def test_a_network_that_needs_more_than_an_image_is_refused(error: Exception, words: str) -> None:
    with pytest.raises(SourceError, match=words):
        first_outputs(Fails(error), FRAME)


class Windows(Answers):
    """A network that runs only where windows of 6×6 fill the image."""

    def __init__(self) -> None:
        super().__init__({"logits": SCORES})
        self.config.backbone_config = SimpleNamespace(patch_size=3, num_windows=2)

    def forward(self, pixel_values: Tensor) -> Any:
        if pixel_values.shape[2] % 6 or pixel_values.shape[3] % 6:
            raise ValueError("windows do not fill the image")
        return super().forward(pixel_values)


def test_another_size_at_which_the_network_runs_is_named() -> None:
    with pytest.raises(SourceError) as refused:
        first_outputs(Windows(), ImageInput(height=8, width=13, resize="stretch"))

    assert "does not run on an image of 8×13 alone: windows do not fill the image. " in str(
        refused.value
    )
    assert "It runs on one of 6×12: state --height 6 --width 12" in str(refused.value)


def test_memory_that_runs_out_is_not_taken_for_a_wrong_size() -> None:
    with pytest.raises(MemoryError):
        first_outputs(Fails(MemoryError()), FRAME)


CLASS_LOGITS = torch.tensor([[[2.0, 0.0, 1.0], [0.0, 1.0, 0.5]]])
"""Two queries; the last of three columns is "no object"."""

MASKS = torch.tensor([[[[1.0, -1.0], [0.5, 2.0]], [[-2.0, 3.0], [0.0, -0.5]]]])


def shares() -> Tensor:
    """Return each class's sum over the queries of class probability times mask probability, (1, 2, 2, 2), by loops."""
    found = torch.zeros(1, 2, 2, 2)
    for query in range(2):
        powers = CLASS_LOGITS[0, query].exp()
        for kind in range(2):
            probability = powers[kind] / powers.sum()
            found[0, kind] += probability / (1 + (-MASKS[0, query]).exp())
    return found


def query_maps(kind: str, frame: ImageInput, masks: Tensor = MASKS) -> Tensor:
    outputs = {"class_queries_logits": CLASS_LOGITS, "masks_queries_logits": masks}
    network = Answers(outputs, kind)
    module = raw_module(network, "segment", frame)
    assert type(module) is QueryMaps
    found: Tensor = module(torch.zeros(1, 3, frame.height, frame.width))
    return found


def test_maps_of_queries_are_logarithms_of_each_class_s_share() -> None:
    frame = ImageInput(height=2, width=2, resize="stretch")

    found = query_maps("maskformer", frame)

    each = shares()
    torch.testing.assert_close(found.exp(), each / each.sum(1, keepdim=True))


def test_maps_get_the_input_size_after_the_sum() -> None:
    found = query_maps("maskformer", FRAME)

    each = nn.functional.interpolate(shares(), (8, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.exp(), each / each.sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("kind", "size"), [("eomt", (8, 12)), ("eomt_dinov3", (8, 12)), ("mask2former", (384, 384))]
)
def test_some_resize_masks_before_the_sum(kind: str, size: tuple[int, int]) -> None:
    found = query_maps(kind, FRAME)

    masks = nn.functional.interpolate(MASKS, size, mode="bilinear", align_corners=False).sigmoid()
    classes = CLASS_LOGITS.softmax(-1)[0, :, :2]
    each = torch.stack(
        [classes[0, kind] * masks[0, 0] + classes[1, kind] * masks[0, 1] for kind in range(2)]
    )
    each = nn.functional.interpolate(each[None], (8, 12), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found.exp(), each / each.sum(1, keepdim=True), atol=1e-5, rtol=1e-5)


def test_a_pixel_that_no_query_wants_has_equal_and_finite_shares() -> None:
    frame = ImageInput(height=2, width=2, resize="stretch")

    found = query_maps("maskformer", frame, torch.full((1, 2, 2, 2), -1e4))

    torch.testing.assert_close(found.exp(), torch.full((1, 2, 2, 2), 0.5))


class Absent(nn.Module):
    """A network whose queries have hardly a mask anywhere; the pixels change nothing."""

    config = SimpleNamespace(model_type="maskformer")

    def forward(self, pixel_values: Tensor) -> Any:
        nothing = 0 * pixel_values.mean(dim=(1, 2, 3), keepdim=True)
        return Found(
            class_queries_logits=CLASS_LOGITS + nothing[:, 0],
            masks_queries_logits=MASKS - 21 + nothing,
        )


def test_the_graph_keeps_the_classes_of_pixels_that_hardly_a_query_wants() -> None:
    """ONNX Runtime's Sigmoid is 0 there, and every class has the same share."""
    frame = ImageInput(height=2, width=2, resize="stretch")
    module = QueryMaps(Absent(), frame)
    model = trace(module, frame, Pixels()).graph.draft()

    (found,) = unoptimized_session(model).run(None, {PIXELS: np.zeros((1, 3, 2, 2), np.float32)})

    expected = module(torch.zeros(1, 3, 2, 2))
    assert (expected[:, 0] - expected[:, 1]).abs().min() > 0.1
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4)
