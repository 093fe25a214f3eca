"""The weights of a ResNet-50 that decides between photographs, where no trained weights can be had.

    python -m benchmarks.fitted_resnet FILE.pth

A precision is proved on decisions, and a network with random weights makes none. So the layers are drawn at random, the
statistics of their norms are those of photographs, and the last layer is fitted by ridge regression to tell these
photographs apart. Every layer has ResNet-50's size, so its time is that of a trained one. Its agreement in a lower
precision is its own.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.models import ResNet, resnet50
from torchvision.models.resnet import Bottleneck

from benchmarks.images import PHOTOGRAPHS

FILES = (
    *("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png"),
    *("camera.png", "coins.png", "hubble_deep_field.jpg", "retina.jpg", "ihc.png"),
    *("grass.png", "brick.png", "gravel.png", "moon.png"),
)
SIDE = 224
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
VIEWS = 10
"""Of each photograph."""
SMALLEST = 0.45
"""Side of a view as a share of the photograph's shorter side."""
BATCH = 28
BRANCH = 0.3
"""Scale of a block's branch beside its shortcut; with 1, random layers would amplify every rounding."""
RIGHT, OTHERS = 6.0, -6.0
"""The logit of the right photograph where those of the other photographs are 0, and that of classes without one."""
PENALTY = 1e-2
SEED = 7


def fitted_resnet() -> ResNet:
    """Return the network; the class of a photograph is its place in `FILES`."""
    torch.manual_seed(SEED)
    network = resnet50(weights=None)
    for module in network.modules():
        if isinstance(module, Bottleneck):
            nn.init.constant_(module.bn3.weight, BRANCH)
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean over all batches
    images, classes = _views()
    layers = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
    with torch.no_grad():
        for batch in _batches(images):
            layers(batch)
        network.eval()
        features = torch.cat([layers(batch) for batch in _batches(images)])
        _fit(network.fc, features.double(), classes)
    return network


def _batches(images: Tensor) -> Iterator[Tensor]:
    return (images[start : start + BATCH] for start in range(0, len(images), BATCH))


def _fit(layer: nn.Linear, features: Tensor, classes: Tensor) -> None:
    """Fit the rows of the photographs' classes; the others stay random, far below them."""
    mean = features.mean(0)
    centered = features - mean
    wanted = RIGHT * nn.functional.one_hot(classes).double()
    kernel = centered @ centered.T
    penalty = PENALTY * kernel.diagonal().mean() * torch.eye(len(kernel))
    weights = centered.T @ torch.linalg.solve(kernel + penalty, wanted - wanted.mean(0))
    count = wanted.shape[1]
    layer.bias.fill_(OTHERS)
    layer.weight[:count] = weights.T.float()
    layer.bias[:count] = (wanted.mean(0) - mean @ weights).float()


def _views() -> tuple[Tensor, Tensor]:
    """Return crops at random places, shuffled: normalized pixels (N, 3, H, W), and their photographs' classes (N,)."""
    random = np.random.default_rng(SEED)
    views = list(_crops(random))
    order = random.permutation(len(views))
    images = torch.stack([views[place][0] for place in order])
    return images, torch.tensor([views[place][1] for place in order])


def _crops(random: np.random.Generator) -> Iterator[tuple[Tensor, int]]:
    mean, std = (torch.tensor(one)[:, None, None] for one in (MEAN, STD))
    for number, name in enumerate(FILES):
        with Image.open(PHOTOGRAPHS / name) as opened:
            image = opened.convert("RGB")
        for _ in range(VIEWS):
            side = int(min(image.size) * random.uniform(SMALLEST, 1))
            left, top = (int(random.integers(0, size - side + 1)) for size in image.size)
            crop = image.crop((left, top, left + side, top + side)).resize((SIDE, SIDE))
            pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1) / 255
            yield (pixels - mean) / std, number


def main() -> None:
    """Write the weights to the file that the command line names."""
    torch.save(fitted_resnet().state_dict(), Path(sys.argv[1]))


if __name__ == "__main__":
    main()
