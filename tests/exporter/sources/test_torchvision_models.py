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
from torchvision.models import get_model, get_model_weights

from exporter.errors import SourceError
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import Task, make_recipe
from exporter.sources.registry import load_network
from exporter.sources.torchvision_build import (
    Built,
    built_from_file,
    check_task,
    drop_last_layer,
    last_layer,
)
from tests.exporter.exporting import some_frames

pytestmark = [
    pytest.mark.timeout(120),
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
        "timm:mobilenetv3_small_050",
        weights="none",
        pixels=stated,
        input={"height": 64, "width": 64, "shorter_side": 64},
    )
    frames = some_frames(2, 64)
    found = network.reference.pixels_of_frames(frames)
    expected = right(frames.astype(np.float64)).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def built(
    folder: Path, name: str, file: str, task: Task = "classify", **arguments: Any
) -> tuple[Built, list[str]]:
    """Build a network with a file's weights, without tracing it; return it and the warnings."""
    recipe = make_recipe(
        {"source": f"torchvision:{name}", "name": "net", "task": task, "arguments": arguments}
    )
    progress = SilentProgress()
    found = built_from_file(name, get_model_weights(name), folder / file, recipe, progress)
    return found, progress.warnings


def test_inception_v3_from_a_file_transforms_its_input_as_with_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = get_model(
        "inception_v3", weights=None, init_weights=False, aux_logits=True, transform_input=True
    ).eval()
    torch.save(module.state_dict(), tmp_path / "own.pth")
    found, warned = built(tmp_path, "inception_v3", "own.pth")
    plain, _ = built(tmp_path, "inception_v3", "own.pth", transform_input=False)

    # What the first layer reads; a random network's own outputs hardly depend on its input.
    pixels = torch.rand(1, 3, 96, 96)
    read: list[torch.Tensor] = []
    for one in (module, found.module.eval(), plain.module.eval()):
        first = one.get_submodule("Conv2d_1a_3x3.conv")
        first.register_forward_pre_hook(lambda _layer, inputs: read.append(inputs[0]))
        with torch.inference_mode():
            one(pixels)
    mean, std = (torch.tensor(value).float().view(1, 3, 1, 1) for value in (MEAN, STD))
    torch.testing.assert_close(read[1], ((pixels * std + mean) - 0.5) / 0.5)
    torch.testing.assert_close(read[1], read[0])
    torch.testing.assert_close(read[2], pixels)
    assert any("--arg transform_input=false" in one for one in warned)


@pytest.mark.parametrize(
    ("name", "task", "classes"),
    [
        ("resnet18", "classify", 3),
        ("squeezenet1_1", "classify", 1),
        ("mnasnet0_5", "classify", 7),
        ("googlenet", "classify", 12),
        ("lraspp_mobilenet_v3_large", "segment", 4),
        ("ssdlite320_mobilenet_v3_large", "detect", 5),
        ("fasterrcnn_mobilenet_v3_large_320_fpn", "detect", 2),
    ],
)
def test_a_head_that_was_trained_for_other_classes_is_known_by_its_shape(
    name: str, task: Task, classes: int, tmp_path: Path
) -> None:
    own: dict[str, Any] = {} if task == "classify" else {"weights_backbone": None}
    if name == "googlenet":
        own["init_weights"] = False
    module = get_model(name, weights=None, num_classes=classes, **own)
    torch.save(module.state_dict(), tmp_path / "own.pth")
    found, warned = built(tmp_path, name, "own.pth", task)
    assert found.classes == classes
    assert any(f"num_classes={classes}" in one for one in warned)
    for key, value in found.module.state_dict().items():
        assert torch.equal(value, module.state_dict()[key]), key


def test_a_transformer_is_built_for_the_image_size_of_its_weights(tmp_path: Path) -> None:
    module = get_model("vit_b_32", weights=None, image_size=96, num_classes=3)
    torch.save(module.state_dict(), tmp_path / "own.pth")
    found, warned = built(tmp_path, "vit_b_32", "own.pth")
    assert found.module.image_size == 96
    assert any("num_classes=3, image_size=96" in one for one in warned)


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


def test_coco_v1_runs_with_an_epsilon_of_0_in_the_batch_norms_that_were_frozen(
    tmp_path: Path,
) -> None:
    name = "retinanet_resnet50_fpn"
    module = get_model(name, weights=None, weights_backbone=None)
    download = get_model_weights(name)["COCO_V1"].url.rpartition("/")[2]
    torch.save(module.state_dict(), tmp_path / download)
    found, _ = built(tmp_path, name, download, "detect")
    norms = [part for part in found.module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert len(norms) == 53
    assert {part.eps for part in norms} == {0.0}
    assert not found.published  # another file of that name
    (tmp_path / download).rename(tmp_path / "own.pth")
    found, warned = built(tmp_path, name, "own.pth", "detect")
    norms = [part for part in found.module.modules() if isinstance(part, nn.BatchNorm2d)]
    assert {part.eps for part in norms} == {1e-5}
    assert any("trained further from COCO_V1 has 0" in one for one in warned)


FAMILIES = {
    "alexnet": 64,
    "convnext_tiny": 32,
    "densenet121": 32,
    "efficientnet_b0": 32,
    "googlenet": 32,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 32,
    "mobilenet_v2": 32,
    "mobilenet_v3_small": 32,
    "regnet_x_400mf": 32,
    "resnet18": 32,
    "shufflenet_v2_x0_5": 32,
    "squeezenet1_0": 32,
    "swin_t": 32,
    "vgg11": 32,
    "vit_b_32": 224,
}
"""A network of each of torchvision's families, and a size that it reads, in pixels."""


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_what_the_last_layer_of_every_family_reads(name: str) -> None:
    own = {"init_weights": False} if name in {"googlenet", "inception_v3"} else {}
    module = get_model(name, weights=None, **own).eval()
    pixels = torch.rand(1, 3, FAMILIES[name], FAMILIES[name])
    read: list[torch.Tensor] = []
    classifier = module.get_submodule(last_layer(module))
    assert 1000 in {getattr(classifier, "out_features", 0), getattr(classifier, "out_channels", 0)}
    classifier.register_forward_pre_hook(lambda _module, inputs: read.append(inputs[0]))
    with torch.inference_mode():
        module(pixels)
        drop_last_layer(module)
        features = module(pixels)
    right = read[0].mean((2, 3)) if read[0].ndim == 4 else read[0]
    torch.testing.assert_close(features, right)
    assert features.shape[1] < 9217


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("resnet18", "detect", "no network for --task detect; it is for classify and embed"),
        ("fcn_resnet50", "classify", "it is for segment"),
        ("ssd300_vgg16", "segment", "it is for detect"),
        ("quantized_resnet18", "classify", "is quantized already. Export resnet18"),
        ("r3d_18", "classify", "reads videos or pairs of images"),
        ("raft_small", "embed", "reads videos or pairs of images"),
    ],
)
def test_a_task_that_a_network_is_not_for_is_refused(name: str, task: Task, message: str) -> None:
    with pytest.raises(SourceError, match=re.escape(message)):
        check_task(name, task)
