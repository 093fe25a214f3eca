"""A callable that downloads published weights for a part of its network: the message says how to build it without."""

from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torch import nn

from exporter.cli import main
from exporter.errors import SourceError
from exporter.progress import SilentProgress
from exporter.recipe import make_recipe
from exporter.sources.registry import load_network
from service.servable_file import read_card
from tests.exporter.nets import SIDE, Small, small

HERE = f"python:{__name__}"
PUBLISHED = {"imagenet": "https://weights.example/net.pt"}


def downloads(encoder_weights: str | None = "imagenet") -> nn.Module:
    """Build a network as libraries do whose encoder has published weights."""
    if encoder_weights is not None:
        raise URLError(f"{PUBLISHED[encoder_weights]} is not reached")
    return Small()


def hides(*, pretrained: bool = True) -> nn.Module:
    """Build it with an error of the library's own, as segmentation_models_pytorch does."""
    try:
        return downloads("imagenet" if pretrained else None)
    except OSError as error:
        raise RuntimeError("the encoder can not be loaded") from error


def unnamed(**options: str) -> nn.Module:
    return downloads(**options)


def fails(depth: int = 3) -> nn.Module:
    raise ValueError(f"depth {depth}")


@pytest.mark.parametrize(
    ("where", "arguments", "advice"),
    [
        ("downloads", {}, "which --weights replaces: give --arg encoder_weights=None"),
        ("hides", {}, "which --weights replaces: give --arg pretrained=false"),
        ("unnamed", {}, "give --arg NAME=None for the argument that names them"),
        (
            "downloads",
            {"encoder_weights": "none"},
            "encoder_weights is the text 'none'; if Python's None is meant: --arg encoder_weights=None",
        ),
    ],
)
def test_a_download_that_fails_names_the_argument_that_switches_it_off(
    where: str, arguments: dict[str, str], advice: str
) -> None:
    recipe = make_recipe(
        {
            "source": f"{HERE}:{where}",
            "name": "net",
            "task": "classify",
            "weights": "none",
            "arguments": arguments,
        }
    )
    with pytest.raises(SourceError) as caught:
        load_network(recipe, SilentProgress())
    assert advice in str(caught.value)


def test_other_errors_have_no_such_advice() -> None:
    content = {"source": f"{HERE}:fails", "name": "net", "task": "classify", "weights": "none"}
    with pytest.raises(SourceError) as caught:
        load_network(make_recipe(content), SilentProgress())
    assert "download" not in str(caught.value)


def test_none_is_given_from_the_command_line_and_the_recipe_makes_the_file_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(small().state_dict(), "net.pt")
    Path("labels.txt").write_text("a\nb\nc\nd")
    words = (
        f"{HERE}:downloads --weights net.pt --arg encoder_weights=None --task classify --name net"
    )
    more = f"--labels labels.txt --height {SIDE} --width {SIDE} --image-limit 2 --largest-batch 2"
    with pytest.raises(SystemExit) as ended:
        main([*words.split(), *more.split()])
    assert not ended.value.code
    recipe = tmp_path / "models/net/1/recipe.toml"
    assert 'none_arguments = ["encoder_weights"]' in recipe.read_text()
    file = recipe.with_name("model.onnx")
    first = read_card(file).certificate.graph_sha256
    file.unlink()

    with pytest.raises(SystemExit) as ended:
        main([str(recipe)])

    assert not ended.value.code
    assert read_card(file).certificate.graph_sha256 == first
