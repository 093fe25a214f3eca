"""timm's networks from a file, as timm builds them with `pretrained=True`; the right values are timm's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from timm.data.imagenet_info import ImageNetInfo

from exporter.errors import RecipeError, SourceError
from exporter.network import Network
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.registry import load_network

pytestmark = [
    pytest.mark.filterwarnings("ignore"),  # PyTorch's own, while it traces
]


def loaded(folder: Path, name: str, **fields: Any) -> Network:
    content = {"name": "net", "task": "classify", "folder": folder, **fields}
    return load_network(make_recipe({"source": f"timm:{name}", **content}), SilentProgress())


def saved(folder: Path, name: str, **arguments: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    module: torch.nn.Module = timm.create_model(name, **arguments).eval()
    torch.save(module.state_dict(), folder / "w.pt")
    return module


def agrees(network: Network, module: torch.nn.Module, *shape: int) -> None:
    pixels = torch.rand(2, *shape)
    with torch.inference_mode():
        right = module(pixels).numpy()
    found = network.reference.run(pixels.numpy())[0]
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"num_classes": 3}, (3, 160, 160)),
        ({"num_classes": 4, "in_chans": 1}, (1, 160, 160)),
        ({"num_classes": 5, "img_size": 64}, (3, 64, 64)),
    ],
)
def test_classes_channels_and_size_are_those_of_the_weights(
    arguments: dict[str, int], shape: tuple[int, int, int], tmp_path: Path
) -> None:
    module = saved(tmp_path, "test_vit", **arguments)
    labels = [str(index) for index in range(arguments["num_classes"])]
    network = loaded(tmp_path, "test_vit", weights="w.pt", labels=labels)
    agrees(network, module, *shape)
    assert (network.image_input.height, network.image_input.width) == shape[1:]
    assert network.pixels.color == ("gray" if shape[0] == 1 else "rgb")


def test_a_network_that_keeps_one_number_for_its_patches_is_built(tmp_path: Path) -> None:
    """XCiT: `patch_embed.patch_size` is 16, where others have (16, 16)."""
    module = saved(tmp_path, "xcit_nano_12_p16_224", num_classes=3)
    network = loaded(tmp_path, "xcit_nano_12_p16_224", weights="w.pt", labels=["a", "b", "c"])
    agrees(network, module, 3, 224, 224)


@pytest.mark.parametrize("classes", [0, 3, 1000])
def test_an_embedder_from_a_file_needs_no_head_and_drops_one(classes: int, tmp_path: Path) -> None:
    module = saved(tmp_path, "test_resnet", num_classes=classes)
    network = loaded(tmp_path, "test_resnet", weights="w.pt", task="embed")
    module.reset_classifier(0)  # type: ignore[operator]
    agrees(network, module, 3, 160, 160)


def test_a_classifier_is_refused_where_there_is_none() -> None:
    with pytest.raises(RecipeError, match=r"no classifier.* Give --task embed"):
        loaded(
            Path(), "test_resnet", weights="none", arguments={"num_classes": 0}, labels=["a", "b"]
        )


@pytest.mark.parametrize(
    ("classes", "subset"), [(1000, "imagenet-1k"), (21841, "imagenet-22k"), (12000, None)]
)
def test_labels_are_those_of_the_part_of_imagenet_with_as_many_classes(
    classes: int, subset: str | None
) -> None:
    stated = {} if subset else {"labels": ["x"] * classes}
    network = loaded(
        Path(), "test_resnet", weights="none", arguments={"num_classes": classes}, **stated
    )
    if subset is None:
        assert network.facts.labels is None
    else:
        labels = network.facts.labels or ()
        assert len(labels) == classes
        assert labels[7] == ImageNetInfo(subset).index_to_description(7).split(",")[0]


def test_labels_that_are_missing_are_required_before_anything_is_traced(tmp_path: Path) -> None:
    saved(tmp_path, "test_vit", num_classes=3)
    with pytest.raises(
        RecipeError, match=r"none are given, the network has 3 classes.*--labels FILE"
    ):
        loaded(tmp_path, "test_vit", weights="w.pt")
    with pytest.raises(RecipeError, match="2 are given, the network has 3 classes"):
        loaded(tmp_path, "test_vit", weights="w.pt", labels=["a", "b"])


def test_weights_under_other_names_are_renamed_as_timm_does(tmp_path: Path) -> None:
    module = saved(tmp_path, "test_vit", num_classes=1000)
    original = {f"visual.trunk.{n}": v for n, v in module.state_dict().items()}  # as OpenCLIP's
    torch.save({"model": original}, tmp_path / "w.pt")
    agrees(loaded(tmp_path, "test_vit", weights="w.pt"), module, 3, 160, 160)


@pytest.mark.parametrize("stated", [None, 1e-5])
def test_an_epsilon_is_the_one_that_timm_sets_with_published_weights(
    stated: float | None, tmp_path: Path
) -> None:
    saved(tmp_path, "fbnetc_100")
    path = str(tmp_path / "w.pt")
    published = timm.create_model(
        "fbnetc_100", pretrained=True, pretrained_cfg_overlay={"file": path}
    )
    right = published if stated is None else timm.create_model("fbnetc_100", checkpoint_path=path)

    arguments = {} if stated is None else {"bn_eps": stated}
    network = loaded(tmp_path, "fbnetc_100", weights="w.pt", arguments=arguments)

    agrees(network, right.eval(), 3, 224, 224)


@pytest.mark.parametrize("prefix", ["timm/", "hf-hub:timm/", "hf_hub:timm/"])
def test_the_name_of_a_page_on_the_hub_is_the_network_of_that_name(
    prefix: str, tmp_path: Path
) -> None:
    module = saved(tmp_path, "test_vit", num_classes=3)
    network = loaded(tmp_path, f"{prefix}test_vit", weights="w.pt", labels=["a", "b", "c"])
    agrees(network, module, 3, 160, 160)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("test_vit.no_such_tag", {}, "Similar names: test_vit"),
        ("test_vit", {"task": "segment"}, "no network for --task segment; it is for classify"),
        ("test_vit", {"arguments": {"depthh": 3}}, r"depthh.*--arg NAME=VALUE"),
    ],
)
def test_a_mistake_is_named(name: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SourceError, match=message):
        loaded(Path(), name, weights="none", **fields)
