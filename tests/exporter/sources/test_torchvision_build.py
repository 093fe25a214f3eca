"""Networks of torchvision are built as their weights need them, and as torchvision builds them."""

import hashlib
import re
from collections import OrderedDict
from enum import Enum, EnumType
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn
from torchvision.models import get_model, get_model_weights

from exporter.errors import SourceError
from exporter.progress import SilentProgress
from exporter.recipe import Task, make_recipe
from exporter.sources.first_layer import first_convolution
from exporter.sources.torchvision_build import (
    Built,
    built_by_name,
    built_from_file,
    check_task,
    drop_last_layer,
    last_layer,
)

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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


def with_first_layer(module: nn.Module, channels: int, **changed: Any) -> nn.Module:
    """Replace a network's first convolution, as people do it for gray images."""
    name, first = first_convolution(module)
    owner, _, own = name.rpartition(".")
    like: dict[str, Any] = {
        "kernel_size": first.kernel_size,
        "stride": first.stride,
        "padding": first.padding,
        "bias": first.bias is not None,
    }
    replaced = nn.Conv2d(channels, first.out_channels, **(like | changed))
    setattr(module.get_submodule(owner), own, replaced)
    return module


@pytest.mark.parametrize(
    ("name", "task", "side"),
    [
        ("alexnet", "classify", 64),
        ("convnext_tiny", "classify", 64),
        ("densenet121", "embed", 64),
        ("efficientnet_b0", "classify", 64),
        ("googlenet", "classify", 64),
        ("inception_v3", "classify", 96),
        ("maxvit_t", "classify", 224),
        ("mnasnet0_5", "classify", 64),
        ("mobilenet_v2", "classify", 64),
        ("mobilenet_v3_small", "embed", 64),
        ("regnet_y_400mf", "classify", 64),
        ("resnet18", "classify", 64),
        ("shufflenet_v2_x0_5", "classify", 64),
        ("squeezenet1_1", "classify", 64),
        ("swin_t", "classify", 64),
        ("vgg11", "classify", 64),
        ("vit_b_32", "classify", 224),
        ("deeplabv3_mobilenet_v3_large", "segment", 64),
        ("fcn_resnet50", "segment", 64),
        ("lraspp_mobilenet_v3_large", "segment", 64),
    ],
)
def test_a_first_layer_for_gray_images_is_known_by_its_shape(
    name: str, task: Task, side: int, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"weights_backbone": None} if task == "segment" else {}
    if name in {"googlenet", "inception_v3"}:
        own |= {"init_weights": False, "aux_logits": False}
    module = with_first_layer(get_model(name, weights=None, num_classes=3, **own), 1).eval()
    torch.save(module.state_dict(), tmp_path / "gray.pth")

    found, warned = built(tmp_path, name, "gray.pth", task)

    pixels = torch.rand(1, 1, side, side)
    with torch.inference_mode():
        right, is_now = module(pixels), found.module.eval()(pixels)
    torch.testing.assert_close(is_now, right)
    first, _ = first_convolution(module)
    assert any(f"{first} reads one channel, gray images, as the weights" in one for one in warned)
    assert not any("transform_input" in one for one in warned)


@pytest.mark.parametrize(
    ("channels", "said"),
    [
        (1, "conv1 reads one channel, gray images and has a bias, as the weights show"),
        (3, "conv1 has a bias, as the weights show"),
        (4, "conv1 reads 4 channels and has a bias, as the weights show"),
    ],
)
def test_a_first_layer_with_a_bias_is_known_by_its_names(
    channels: int, said: str, tmp_path: Path
) -> None:
    module = with_first_layer(get_model("resnet18", weights=None), channels, bias=True).eval()
    torch.save(module.state_dict(), tmp_path / "own.pth")

    found, warned = built(tmp_path, "resnet18", "own.pth")

    pixels = torch.rand(1, channels, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(found.module.eval()(pixels), module(pixels))
    assert any(said in one for one in warned)


def test_a_first_layer_of_another_kernel_is_refused(tmp_path: Path) -> None:
    module = get_model("resnet18", weights=None, num_classes=3)
    with_first_layer(module, 1, kernel_size=3, stride=1, padding=1)
    torch.save(module.state_dict(), tmp_path / "own.pth")

    with pytest.raises(SourceError, match=r"does not hold its stride and padding.* python:module"):
        built(tmp_path, "resnet18", "own.pth")


@pytest.mark.parametrize(
    ("channels", "said"),
    [(1, r"multiplied by torch\.tensor\(\[0\.299, 0\.587, 0\.114\]\)"), (4, "can not be served")],
)
def test_a_detector_of_other_channels_is_refused_with_the_way_out(
    channels: int, said: str, tmp_path: Path
) -> None:
    name = "ssdlite320_mobilenet_v3_large"
    module = get_model(name, weights=None, weights_backbone=None, num_classes=3)
    torch.save(with_first_layer(module, channels).state_dict(), tmp_path / "own.pth")

    with pytest.raises(SourceError, match=said):
        built(tmp_path, name, "own.pth", "detect")


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
    assert any(
        f"trained further from COCO_V1 has 0: give its file the name of these weights, {download}"
        in one
        for one in warned
    )


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


def classifier() -> nn.Sequential:
    """Return a network of which the last layer with weights is not the last one."""
    head = nn.Sequential(OrderedDict(norm=nn.BatchNorm2d(4), score=nn.Conv2d(4, 5, 1)))
    return nn.Sequential(OrderedDict(body=nn.Conv2d(3, 4, 3), head=head, end=nn.Flatten()))


def test_the_last_layer_is_the_last_one_with_weights() -> None:
    assert last_layer(classifier()) == "head.score"
    assert last_layer(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Linear(4, 5), nn.ReLU())) == "1"


def test_a_dropped_layer_passes_on_what_it_read() -> None:
    module = classifier().eval()
    pixels = torch.rand(2, 3, 3, 3)
    with torch.inference_mode():
        read = module.get_submodule("head.norm")(module.get_submodule("body")(pixels))
        drop_last_layer(module)

        assert torch.equal(module(pixels), read.flatten(1))


def by_name(name: str, weights: object = None, **fields: Any) -> Built:
    content = {"source": f"torchvision:{name}", "task": "classify", "name": "net", **fields}
    return built_by_name(name, get_model_weights(name), weights, make_recipe(content))


def test_a_network_without_weights_has_the_documented_transforms_and_the_stated_classes() -> None:
    found = by_name("squeezenet1_1")

    assert (found.classes, found.published, found.origin) == (1000, False, "untrained")
    assert found.documented == get_model_weights("squeezenet1_1")["DEFAULT"]
    assert not found.is_own_file
    assert by_name("squeezenet1_1", arguments={"num_classes": 7}).classes == 7
    detector = by_name("ssdlite320_mobilenet_v3_large", task="detect")
    assert detector.classes == 91


def test_a_wrong_argument_is_named_with_where_arguments_are_given() -> None:
    with pytest.raises(SourceError, match=r"squeezenet1_1: TypeError: .*depth.*--arg NAME=VALUE"):
        by_name("squeezenet1_1", arguments={"depth": 3})


def named_after(path: Path, digest: str) -> EnumType:
    """Return published weights whose download is this file, with the beginning of a SHA-256 in its name."""

    class Published(Enum):
        MINE_V1 = "mine"

        @property
        def url(self) -> str:
            return f"https://example.invalid/{path.name}"

    assert digest in path.stem
    return cast("EnumType", Published)


@pytest.mark.parametrize("is_right", [True, False])
def test_a_file_is_a_download_where_its_name_ends_in_its_hash(
    tmp_path: Path, *, is_right: bool
) -> None:
    torch.save(get_model("squeezenet1_1", weights=None).state_dict(), tmp_path / "w.pth")
    digest = hashlib.sha256((tmp_path / "w.pth").read_bytes()).hexdigest()[:8]
    digest = digest if is_right else f"{int(digest, 16) ^ 1:08x}"
    path = (tmp_path / "w.pth").rename(tmp_path / f"squeezenet1_1-{digest}.pth")
    enum = named_after(path, digest)
    recipe = make_recipe({"source": "torchvision:a", "task": "classify", "name": "net"})

    found = built_from_file("squeezenet1_1", enum, path, recipe, SilentProgress())

    assert found.documented is cast("Any", enum).MINE_V1
    assert (found.published, found.is_own_file) == (is_right, not is_right)
    assert found.origin == (
        f"weights {cast('Any', enum).MINE_V1}" if is_right else f"weights of {path.name}"
    )


@pytest.mark.parametrize("has_head", [True, False])
def test_an_embedder_s_file_may_lack_the_last_layer(tmp_path: Path, *, has_head: bool) -> None:
    module = get_model("squeezenet1_1", weights=None)
    state = module.state_dict()
    if not has_head:
        state = {name: value for name, value in state.items() if "classifier" not in name}
    torch.save(state, tmp_path / "own.pth")

    found, _ = built(tmp_path, "squeezenet1_1", "own.pth", "embed")

    assert found.is_headless is not has_head
    assert isinstance(found.module.get_submodule("classifier.1"), nn.Conv2d) is has_head
