"""Motion in two parts: `glance` computes a frame's features, and a temporal head reads how they change.

The features contain position, size and angle. `glance` is trained together with a head of its own, which is not kept.
`motion` is then trained on the features that the finished `glance` computes, as they will be served.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from exporter.encoding import as_png
from exporter.network import Facts
from exporter.progress import Progress
from exporter.recipe import Pixels
from exporter.sessions import served_session
from exporter.temporal import TemporalModel
from exporter.threads import one_thread
from exporter.torch_network import TorchModel
from exporter.training.compositions import SEED, Material, read_material
from exporter.training.layers import convolution
from exporter.training.moving import BACKWARDS, FRAMES, LABELS, SIDE, Moving, move
from exporter.transforms import pixel_values
from service.card import INPUT_NAME, ImageInput

IMAGE_INPUT = ImageInput(height=SIDE, width=SIDE, resize="stretch")
PIXELS = Pixels(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
FEATURES = 128

GLANCE_STEPS = 1500
GLANCE_BATCH = 32
GLANCE_RATE = 3e-3

HEAD_CLIPS = 14_400
HEAD_EPOCHS = 16
HEAD_BATCH = 64
HEAD_RATE = 2e-3
HELD_OUT_CLIPS = 900
PROOF_CLIPS = 90
PROOF_IMAGES = 48

_BACKWARDS = torch.tensor(BACKWARDS)


class Glance(nn.Module):
    """Convolutions down to 8×8 places, which are not pooled: a pooled vector would lose the positions."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            convolution(3, 24, 5, 2),
            convolution(24, 48, 3, 2),
            convolution(48, 48, 3, 1),
            convolution(48, 64, 3, 2),
            convolution(64, 64, 3, 1),
            convolution(64, 32, 3, 1),
        )
        self.summary = nn.Sequential(nn.Flatten(), nn.Linear(32 * (SIDE // 8) ** 2, FEATURES))

    def forward(self, pixels: Tensor) -> Tensor:
        vector: Tensor = self.summary(self.maps(pixels))
        return vector


class TemporalConvolutions(nn.Module):
    """Dilated convolutions over time with residual connections (Bai et al. 2018, arXiv:1803.01271)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, width)
        self.layers = nn.ModuleList(
            nn.Conv1d(width, width, 3, padding=step, dilation=step) for step in (1, 2, 4)
        )
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(2 * width, len(LABELS))

    def forward(self, features: Tensor) -> Tensor:
        maps = self.drop(self.read(_centered(features))).transpose(1, 2)
        for layer in self.layers:
            maps = maps + layer(maps).relu()
        summed = torch.cat([maps.mean(dim=2), maps.amax(dim=2)], dim=1)
        logits: Tensor = self.classify(self.drop(summed))
        return logits


class Recurrence(nn.Module):
    """A gated recurrent unit in both directions (Cho et al. 2014, arXiv:1406.1078)."""

    def __init__(self, width: int = 96) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, 128)
        self.unit = nn.GRU(128, width, batch_first=True, bidirectional=True)
        self.drop = nn.Dropout(0.2)
        self.classify = nn.Linear(2 * width, len(LABELS))

    def forward(self, features: Tensor) -> Tensor:
        states, _ = self.unit(self.drop(self.read(_centered(features))))
        logits: Tensor = self.classify(self.drop(states.mean(dim=1)))
        return logits


class Attention(nn.Module):
    """Two layers of attention over time, with learned position embeddings (Vaswani et al. 2017, arXiv:1706.03762)."""

    def __init__(self, width: int = 128) -> None:
        super().__init__()
        self.read = nn.Linear(FEATURES, width)
        self.position = nn.Parameter(0.02 * torch.randn(1, FRAMES, width))
        layer = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.2, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.classify = nn.Linear(width, len(LABELS))

    def forward(self, features: Tensor) -> Tensor:
        states = self.layers(self.read(_centered(features)) + self.position)
        logits: Tensor = self.classify(states.mean(dim=1))
        return logits


class WithoutTime(nn.Module):
    """The control experiment: two layers on the features of a single frame; (N, F) → (N, K)."""

    def __init__(self, width: int = 256) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(FEATURES, width), nn.ReLU(), nn.Dropout(0.2), nn.Linear(width, len(LABELS))
        )

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features)
        return logits


HEADS: dict[str, Callable[[], nn.Module]] = {
    "temporal convolutions": TemporalConvolutions,
    "a gated recurrent unit": Recurrence,
    "attention": Attention,
}
"""The heads that are compared, each (N, FRAMES, FEATURES) → (N, K); the best on held-out clips is exported."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Features, float32 (N, FRAMES, FEATURES), and ways of moving, int64 (N,), indices of LABELS."""

    features: Tensor
    ways: Tensor


def train_glance(progress: Progress) -> TorchModel:
    """Train on new clips in every step and return the frame network."""
    learning, held_out = read_material()
    with one_thread():
        torch.manual_seed(SEED)
        glance, head = Glance(), TemporalConvolutions()
        _learn_together(glance, head, learning, progress)
        clips = list(clips_of(held_out, SEED + 1, HELD_OUT_CLIPS))
        reached = _accuracy_together(glance, head, clips)
    progress.advance(
        1, f"{reached:.1%} of {len(clips)} held-out clips with the head it was trained under"
    )
    facts = Facts(
        title="Glance",
        origin="trained by foveal-export on digits and pieces of photographs that move over others",
        scores={"held_out_top1_under_its_own_head": round(reached, 4)},
    )
    proof = tuple(as_png(clip.frames[FRAMES // 2]) for clip in clips[:PROOF_IMAGES])
    return TorchModel(glance, facts, IMAGE_INPUT, PIXELS, proof=proof)


def train_head(progress: Progress, backbone: Path) -> TemporalModel:
    """Train each of HEADS on the backbone's features and return the best; its scores include that of a single frame."""
    learning, held_out = read_material()
    with one_thread():
        learned = windows_of(learning, SEED + 2, HEAD_CLIPS, backbone)
        held = windows_of(held_out, SEED + 3, HELD_OUT_CLIPS, backbone)
        progress.advance(0.3, "features of every clip")
        reached: dict[str, float] = {}
        trained: dict[str, nn.Module] = {}
        for number, (name, make) in enumerate(HEADS.items()):
            torch.manual_seed(SEED)
            trained[name] = learn(make(), learned)
            reached[name] = accuracy(trained[name], held)
            progress.advance(0.3 + 0.2 * (number + 1), f"{name}: {reached[name]:.1%}")
        best = max(reached, key=lambda name: reached[name])
        torch.manual_seed(SEED)
        without_time = learn(WithoutTime(), _single_frames(learned))
        alone = accuracy(without_time, _single_frames(held))
        shuffled = accuracy(trained[best], _shuffled(held))
    progress.advance(1, f"{best}: {reached[best]:.1%}; a single frame {alone:.1%}")
    facts = Facts(
        title="Motion",
        origin="trained by foveal-export on digits and pieces of photographs that move over others",
        description=f"Of {', '.join(f'{name} ({share:.1%})' for name, share in reached.items())} the best.",
        labels=LABELS,
        scores={
            "held_out_top1": round(reached[best], 4),
            "single_frame_top1": round(alone, 4),
            "shuffled_frames_top1": round(shuffled, 4),
            "chance": round(1 / len(LABELS), 4),
        },
    )
    return TemporalModel(trained[best], facts, proof=held.features[:PROOF_CLIPS].numpy())


def clips_of(material: Material, seed: int, count: int) -> Iterator[Moving]:
    """Yield clips, with each way of moving equally often."""
    rng = np.random.default_rng(seed)
    for number in range(count):
        yield move(material, rng, number % len(LABELS))


def windows_of(material: Material, seed: int, count: int, backbone: Path) -> Windows:
    """Return the features of new clips as the served backbone computes them."""
    session = served_session(backbone)
    features, ways = [], []
    for clip in clips_of(material, seed, count):
        features.append(session.run(["features"], {INPUT_NAME: clip.frames})[0])
        ways.append(clip.way)
    return Windows(torch.from_numpy(np.stack(features)), torch.tensor(ways))


def learn(network: nn.Module, windows: Windows) -> nn.Module:
    """Train on windows, half of them reversed, and return the network in evaluation mode."""
    batches = -(-len(windows.ways) // HEAD_BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), lr=HEAD_RATE, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, HEAD_RATE, total_steps=HEAD_EPOCHS * batches
    )
    network.train()
    for _ in range(HEAD_EPOCHS):
        for chosen in torch.split(torch.randperm(len(windows.ways)), HEAD_BATCH):
            features, ways = windows.features[chosen], windows.ways[chosen]
            if features.ndim == 3 and torch.rand(()) < 0.5:
                features, ways = features.flip(1), _BACKWARDS[ways]
            _step(network(features), ways, optimizer, schedule)
    return network.eval()


def accuracy(network: nn.Module, windows: Windows) -> float:
    """Return the share of windows whose way of moving is classified correctly, 0–1."""
    with torch.inference_mode():
        right = network(windows.features).argmax(dim=1) == windows.ways
    return float(right.float().mean())


def _learn_together(
    glance: nn.Module, head: nn.Module, material: Material, progress: Progress
) -> None:
    parameters = [*glance.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=GLANCE_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, GLANCE_RATE, total_steps=GLANCE_STEPS, pct_start=0.2
    )
    smooth = 0.0
    for step, (pixels, ways) in enumerate(_batches(material)):
        features = glance(pixels).unflatten(0, (-1, FRAMES))
        # The same frames in reverse are another clip; it costs one more run of the head only.
        logits = head(torch.cat([features, features.flip(1)]))
        cost = _step(logits, torch.cat([ways, _BACKWARDS[ways]]), optimizer, schedule)
        smooth = cost if step == 0 else 0.98 * smooth + 0.02 * cost
        progress.advance(
            (step + 1) / GLANCE_STEPS, f"step {step + 1}/{GLANCE_STEPS}, loss {smooth:.3f}"
        )
    glance.eval()
    head.eval()


def _step(
    logits: Tensor,
    ways: Tensor,
    optimizer: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> float:
    cost = functional.cross_entropy(logits, ways, label_smoothing=0.05)
    optimizer.zero_grad()
    torch.autograd.backward(cost)
    optimizer.step()
    schedule.step()
    return cost.item()


def _accuracy_together(glance: nn.Module, head: nn.Module, clips: Sequence[Moving]) -> float:
    right = 0
    with torch.inference_mode():
        for clip in clips:
            pixels = torch.from_numpy(pixel_values(clip.frames, PIXELS))
            right += int(head(glance(pixels)[None]).argmax()) == clip.way
    return right / len(clips)


def _batches(material: Material) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pixel values and ways; a second thread makes the next clips while the network trains on these."""
    rng = np.random.default_rng(SEED)
    with ThreadPoolExecutor(max_workers=1) as maker:
        following = maker.submit(_batch, material, rng)
        for _ in range(GLANCE_STEPS):
            batch, following = following.result(), maker.submit(_batch, material, rng)
            yield batch


def _batch(material: Material, rng: Generator) -> tuple[Tensor, Tensor]:
    clips = [move(material, rng, int(way)) for way in rng.integers(0, len(LABELS), GLANCE_BATCH)]
    frames = np.concatenate([clip.frames for clip in clips])
    return (
        torch.from_numpy(pixel_values(frames, PIXELS)),
        torch.tensor([clip.way for clip in clips]),
    )


def _single_frames(windows: Windows) -> Windows:
    """Return one random frame of each window."""
    rng = np.random.default_rng(SEED)
    chosen = torch.from_numpy(rng.integers(0, FRAMES, len(windows.ways)))
    return Windows(windows.features[torch.arange(len(chosen)), chosen], windows.ways)


def _shuffled(windows: Windows) -> Windows:
    rng = np.random.default_rng(SEED)
    orders = [torch.from_numpy(rng.permutation(FRAMES)) for _ in windows.ways]
    mixed = [clip[order] for clip, order in zip(windows.features, orders, strict=True)]
    return Windows(torch.stack(mixed), windows.ways)


def _centered(features: Tensor) -> Tensor:
    """Return the features less their mean over time: the mean contains the position and not the motion."""
    moving: Tensor = features - features.mean(dim=1, keepdim=True)
    return moving
