"""torchvision's networks from a file, as embedders, and with some of their pixel values stated.

The right values are those of torchvision's own module, run in the test.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import get_model

from exporter.errors import RecipeError, SourceError
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.registry import load_network
from tests.exporter.exporting import some_frames

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def loaded(folder: Path, source: str, **fields: Any) -> Network:
    content = {"source": source, "name": "net", "task": "classify", "folder": folder, **fields}
    return load_network(make_recipe(content), SilentProgress())


def outputs_of(network: Network, pixels: torch.Tensor) -> np.ndarray[Any, Any]:
    return np.asarray(network.reference.run(pixels.numpy())[0])


@pytest.mark.parametrize(("auxiliary", "stated"), [(True, {}), (False, {"transform_input": False})])
def test_googlenet_from_a_file_transforms_its_input_as_with_weights(
    tmp_path: Path,
    auxiliary: bool,  # noqa: FBT001 - a parameter of the test
    stated: dict[str, Any],
) -> None:
    torch.manual_seed(0)
    module = get_model(
        "googlenet", weights=None, init_weights=False, aux_logits=auxiliary, num_classes=5
    ).eval()
    torch.save(module.state_dict(), tmp_path / "own.pth")
    module.transform_input = stated.get("transform_input", True)
    pixels = torch.rand(2, 3, 64, 64)

    network = loaded(
        tmp_path,
        "torchvision:googlenet",
        weights="own.pth",
        arguments={"num_classes": 5, **stated},
        labels=list("abcde"),
        input={"height": 64, "width": 64},
    )

    with torch.inference_mode():
        right = module(pixels).numpy()
    np.testing.assert_allclose(outputs_of(network, pixels), right, rtol=1e-4, atol=1e-6)


def test_an_embedder_returns_the_features_that_the_classifier_reads() -> None:
    torch.manual_seed(0)
    network = loaded(
        Path(),
        "torchvision:squeezenet1_1",
        weights="none",
        task="embed",
        input={"height": 64, "width": 64, "shorter_side": 64},
    )
    torch.manual_seed(0)
    module = get_model("squeezenet1_1", weights=None).eval()
    pixels = torch.rand(2, 3, 64, 64)

    with torch.inference_mode():
        right = module.features(pixels).mean(dim=(2, 3)).numpy()
    assert right.shape == (2, 512)
    np.testing.assert_allclose(outputs_of(network, pixels), right, rtol=1e-4, atol=1e-6)
    assert network.facts.labels is None


def test_an_embedder_of_a_residual_network_reads_the_pooled_maps() -> None:
    torch.manual_seed(0)
    network = loaded(
        Path(),
        "torchvision:resnet18",
        weights="none",
        task="embed",
        input={"height": 64, "width": 64, "shorter_side": 64},
    )
    torch.manual_seed(0)
    module = get_model("resnet18", weights=None).eval()
    module.fc = nn.Identity()
    pixels = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        right = module(pixels).numpy()
    assert right.shape == (2, 512)
    np.testing.assert_allclose(outputs_of(network, pixels), right, rtol=1e-4, atol=1e-6)


def test_a_segmenter_is_no_embedder() -> None:
    with pytest.raises(SourceError, match="no network for --task embed; it is for segment"):
        loaded(Path(), "torchvision:lraspp_mobilenet_v3_large", weights="none", task="embed")


@pytest.mark.parametrize(
    ("stated", "right"),
    [
        ({"color": "bgr"}, lambda rgb: (rgb[..., ::-1] / 255 - MEAN) / STD),
        ({"scale": 1.0}, lambda rgb: (rgb - MEAN) / STD),
        ({"mean": (0.5, 0.5, 0.5)}, lambda rgb: (rgb / 255 - 0.5) / STD),
        ({"std": (0.5, 0.5, 0.5)}, lambda rgb: (rgb / 255 - MEAN) / 0.5),
    ],
    ids=["color", "scale", "mean", "std"],
)
def test_one_stated_pixel_value_keeps_the_others_of_the_source(
    stated: dict[str, Any], right: Any
) -> None:
    network = loaded(
        Path(),
        "timm:test_efficientnet",
        weights="none",
        pixels=stated,
        input={"height": 64, "width": 64, "shorter_side": 64},
    )
    frames = some_frames(2, 64)
    found = network.reference.pixels_of_frames(frames)
    expected = right(frames.astype(np.float64)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_weights_of_the_user_s_own_have_no_published_scores_and_no_published_name(
    tmp_path: Path,
) -> None:
    torch.save(get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "own.pth")
    network = loaded(
        tmp_path,
        "torchvision:squeezenet1_1",
        weights="own.pth",
        input={"height": 64, "width": 64, "shorter_side": 64},
    )
    assert network.facts.scores == {}
    assert network.facts.origin == "torchvision:squeezenet1_1, weights of own.pth"
    assert (network.facts.labels or ())[0] == "tench"  # 1000 classes: torchvision's of ImageNet


@pytest.mark.parametrize(
    ("name", "dropped"),
    [("maskrcnn_resnet50_fpn", "masks"), ("keypointrcnn_resnet50_fpn", "keypoints")],
)
def test_what_a_detector_finds_beside_boxes_is_left_out_with_a_warning(
    name: str, dropped: str
) -> None:
    """Labels of another number name the argument that builds a network for them."""
    content = {
        "source": f"torchvision:{name}",
        "name": "net",
        "task": "detect",
        "weights": "none",
        "labels": ["ant", "bee"],
        "input": {"height": 64, "width": 64},
    }
    progress = SilentProgress()
    if dropped == "keypoints":
        content["labels"] = ["ant", "bee", "cat"]
    count = {"masks": 91, "keypoints": 2}[dropped]
    step = f"the network has {count} classes.*--arg num_classes={len(content['labels']) + 1} "
    with pytest.raises(RecipeError, match=step + r"\(the background is one\)$"):
        load_network(make_recipe(content), progress)
    assert any(
        f"{name} also finds {dropped}, which no task serves" in one for one in progress.warnings
    )


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        (
            "ssdlite320_mobilenet_v3_large",
            {},
            "SSD works at 320×320 (height × width) alone, and --height and --width make its input 64×96. Leave them",
        ),
        (
            "fasterrcnn_mobilenet_v3_large_320_fpn",
            {"min_size": 128, "max_size": 512},
            "By --arg min_size and max_size the network resizes images of 64×96, the size of its input, to 128×192",
        ),
    ],
)
def test_a_detector_that_works_at_another_size_than_its_input_is_refused(
    name: str, arguments: dict[str, Any], words: str
) -> None:
    with pytest.raises(SourceError, match=re.escape(words)):
        loaded(
            Path(),
            f"torchvision:{name}",
            weights="none",
            task="detect",
            arguments={"num_classes": 3, **arguments},
            labels=["ant", "bee"],
            input={"height": 64, "width": 96},
        )
