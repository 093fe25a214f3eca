from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from exporter.heads.segment import SegmentHead
from exporter.progress import SilentProgress
from exporter.training.compositions import LABELS, Composition, Material, compose
from exporter.training.unet import (
    IMAGE_INPUT,
    UNet,
    class_ious,
    confusion,
    count_pairs,
    frame_of,
    learn,
    loss,
)
from service.card import Card
from service.servable_file import read_card

ROOT = Path(__file__).parents[3]
SERVABLE = ROOT / "models" / "unet-digits" / "1" / "model.onnx"
IMAGES = sorted((ROOT / "tests" / "data" / "compositions").glob("*[!k].png"))
FRESH_SEED = 2026


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(SERVABLE)


@pytest.fixture(scope="module")
def session() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(SERVABLE, providers=["CPUExecutionProvider"])


@pytest.fixture
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def mask_of(session: onnxruntime.InferenceSession, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    mask: NDArray[np.uint8] = session.run(["mask"], {"image": frame[None]})[0][0]
    return mask


def read_composition(path: Path) -> Composition:
    return Composition(
        np.asarray(Image.open(path).convert("RGB")),
        np.asarray(Image.open(path.with_name(f"{path.stem}-mask.png"))),
    )


@pytest.mark.usefixtures("one_thread")
def test_a_few_steps_teach_the_network_where_strokes_are(
    material: tuple[Material, Material],
) -> None:
    """Which digit it is takes longer; that a stroke is no background is learned at once."""
    few = Material(material[0].digits[:8], material[0].values[:8], material[0].photographs[:1])
    shown = [compose(few, np.random.default_rng(seed), (128, 128)) for seed in range(6)]
    torch.manual_seed(1)
    network = UNet(widths=(8, 16))
    before = stroke_iou(network.eval(), shown)
    learned = learn(network.train(), few, SilentProgress(), count=60, batch=4)
    assert stroke_iou(learned, shown) > 1.5 * before


def stroke_iou(network: UNet, shown: list[Composition]) -> float:
    """Return the IoU of the strokes of all digits taken together."""
    counts = confusion(network, shown)
    return float(counts[1:, 1:].sum() / (counts.sum() - counts[0, 0]))


def test_the_loss_is_least_where_the_mask_is_right() -> None:
    masks = torch.tensor([[[0, 1], [2, 2]]])
    right = 20.0 * torch.nn.functional.one_hot(masks, 3).permute(0, 3, 1, 2)
    assert loss(right, masks).item() == pytest.approx(0, abs=1e-6)
    assert loss(-right, masks).item() > 2


def test_an_iou_is_the_common_area_over_the_area_of_both() -> None:
    expected = np.repeat(np.arange(11, dtype=np.uint8), 4)
    found = expected.copy()
    found[4:6] = 0
    ious = class_ious(count_pairs(expected, found))
    assert ious[0] == pytest.approx(4 / 6)
    assert ious[1] == pytest.approx(2 / 4)
    assert (ious[2:] == 1).all()


def test_the_servable_finds_and_reads_digits_on_fresh_held_out_images(
    material: tuple[Material, Material], session: onnxruntime.InferenceSession
) -> None:
    rng = np.random.default_rng(FRESH_SEED)
    counts = np.zeros((len(LABELS), len(LABELS)), np.int64)
    for _ in range(200):
        frame, mask = frame_of(compose(material[1], rng, (128, 128)))
        counts += count_pairs(mask, mask_of(session, frame))
    assert class_ious(counts).mean() >= 0.80


def test_the_servable_keeps_the_contract(session: onnxruntime.InferenceSession, card: Card) -> None:
    assert card.labels == LABELS
    assert card.background_id == 0
    assert card.input == IMAGE_INPUT
    assert card.scores["held_out_mean_iou"] >= 0.80
    run = partial(session.run, list(SegmentHead.outputs))
    mask, confidence, features = run({"image": np.zeros((3, 128, 128, 3), np.uint8)})
    assert mask.shape == confidence.shape == (3, 128, 128)
    assert mask.dtype == confidence.dtype == np.uint8
    assert features.shape == (3, card.stages[-1].channels)


def test_there_are_images_for_the_service_in_several_sizes() -> None:
    assert len({read_composition(path).mask.shape for path in IMAGES}) >= 3


@pytest.mark.parametrize("path", IMAGES, ids=lambda path: path.stem)
def test_the_servable_reads_the_images_that_the_service_is_tested_with(
    session: onnxruntime.InferenceSession, path: Path
) -> None:
    frame, mask = frame_of(read_composition(path))
    found = mask_of(session, frame)
    for class_id in np.unique(mask).tolist():
        here, there = mask == class_id, found == class_id
        assert (here & there).sum() / (here | there).sum() > 0.7, LABELS[class_id]
