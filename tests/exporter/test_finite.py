"""Values that are no numbers are never proved: NaN agrees with nothing, nor with NaN."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from exporter.errors import ProofError, WeightsError
from tests.exporter.exporting import export_to
from tests.exporter.test_activation_end import adopted, network, op, truth

IMAGES = 20
PROOF = {"limit": IMAGES, "largest": 3, "agreement": 0.5, "images": "images"}


def one_dark_image(folder: Path) -> None:
    """Write images of noise, and a black one that is the last by name."""
    rng = np.random.default_rng(4)
    (folder / "images").mkdir()
    for index in range(IMAGES - 1):
        noise = Image.fromarray(rng.integers(60, 256, (16, 16, 3), dtype=np.uint8))
        noise.save(folder / "images" / f"{index:02}.png")
    Image.new("RGB", (16, 16)).save(folder / "images" / "99.png")


def not_in_the_dark(*, maps: bool) -> onnx.ModelProto:
    """Return a graph that adds the root of the mean pixel less 0.2, which is NaN for a black image."""
    return network(
        op("ReduceMean", "pixels", "axes", output="mean", keepdims=1),
        op("Sub", "mean", "level", output="above"),
        op("Sqrt", "above", output="root"),
        *([] if maps else [op("Flatten", "root", output="flat")]),
        op("Add", "scores", "root" if maps else "flat"),
        classes=1 if maps else 3,
        maps=maps,
        axes=np.array([1, 2, 3]),
        level=np.array(0.2, np.float32),
    )


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_a_network_that_gives_nan_for_one_of_many_images_is_refused(
    tmp_path: Path, task: str
) -> None:
    one_dark_image(tmp_path)
    model = not_in_the_dark(maps=task == "segment")
    labels = ("a", "b", "c") if task == "classify" else ("background", "object")
    assert np.isfinite(truth(model)).all()

    with pytest.raises(ProofError, match=f"image {IMAGES} of {IMAGES}.*NaN.*root") as refused:
        adopted(
            tmp_path,
            model,
            task=task,
            labels=labels,
            proof=PROOF,
            **{task: {"activation": "sigmoid"}},
        )

    assert "--images" in str(refused.value)
    assert not (tmp_path / "1").exists()


def test_a_file_that_gives_nan_for_every_image_is_named_as_that(tmp_path: Path) -> None:
    model = network(op("Neg", "scores", output="negative"), op("Sqrt", "negative"))

    with pytest.raises(ProofError, match=r"NaN\); the first layer that computes one is out"):
        adopted(tmp_path, model)


class Normalized(nn.Module):
    """A batch norm without an eps, as some conversions from other frameworks write it."""

    def __init__(self, variance: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.conv, self.norm = nn.Conv2d(3, 3, 4, 4), nn.BatchNorm2d(3, eps=0.0)
        self.norm.running_var = torch.tensor([1.0, variance, 2.0])

    def forward(self, pixels: Tensor) -> Tensor:
        scores: Tensor = self.norm(self.conv(pixels)).mean((2, 3))
        return scores


FIELDS = {"labels": ("a", "b", "c"), "input": {"height": 16, "width": 16}}


@pytest.mark.parametrize("variance", [0.5, 1e-12])
def test_a_batch_norm_without_eps_is_proved(tmp_path: Path, variance: float) -> None:
    done = export_to(
        tmp_path,
        f"python:{__name__}:Normalized",
        weights="none",
        arguments={"variance": variance},
        **FIELDS,
    )

    assert done.card.certificate.max_difference < 1e-4


def test_a_batch_norm_without_eps_and_variance_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ProofError, match="the first layer that computes one is norm"):
        export_to(
            tmp_path,
            f"python:{__name__}:Normalized",
            weights="none",
            arguments={"variance": 0.0},
            **FIELDS,
        )


def test_weights_with_statistics_that_are_nan_are_refused_by_their_name(tmp_path: Path) -> None:
    state = Normalized().state_dict()
    state["norm.running_mean"][1] = float("nan")
    torch.save(state, tmp_path / "net.pt")

    with pytest.raises(WeightsError, match=r"norm\.running_mean.*NaN"):
        export_to(tmp_path, f"python:{__name__}:Normalized", weights="net.pt", **FIELDS)
