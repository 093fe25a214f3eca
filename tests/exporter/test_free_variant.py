"""The int8 variant that comes with EfficientNet-Lite0: what it keeps, and that its frames are free photographs."""

import hashlib
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from exporter.images import PHOTOGRAPHS, photographs
from exporter.subject import fit_all
from exporter.training.free_variant import CALIBRATED_WITH, JUDGED_ON, VIEWS, frames_of
from service.card import Card
from service.heads.agreement import CLASSES
from service.servable_file import check_certificate, read_card
from tests.live import MODELS, serve

NAME = "efficientnet-lite0"
FOLDER = MODELS / NAME / "1"
SERVABLE, VARIANT, FRAMES = (FOLDER / name for name in ("model.onnx", "int8.onnx", "reference.npy"))
FIGURES = ("top_class", "clear", "probability_change")


@pytest.fixture(scope="module")
def card() -> Card:
    return read_card(SERVABLE)


def outputs(path: Path, frames: NDArray[np.uint8]) -> list[dict[str, NDArray[Any]]]:
    """Run each frame alone; sums of bytes are exact on every processor."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    found = [session.run(names, {"image": frame[None]}) for frame in frames]
    return [dict(zip(names, (value[0] for value in one), strict=True)) for one in found]


def figures(frames: NDArray[np.uint8], card: Card) -> dict[str, float]:
    return CLASSES.measure(outputs(VARIANT, frames), outputs(SERVABLE, frames), card)


def test_its_card_names_the_servable_and_the_frames_beside_it(card: Card) -> None:
    variant = read_card(VARIANT)
    check_certificate(VARIANT, variant)
    assert variant.variant is not None
    assert variant.precision == "int8"
    assert variant.variant.of_sha256 == card.certificate.graph_sha256
    assert variant.variant.reference_sha256 == hashlib.sha256(FRAMES.read_bytes()).hexdigest()
    assert (variant.labels, variant.input) == (card.labels, card.input)
    assert card.variant is None


def test_it_keeps_what_its_card_says_on_the_reference_frames(card: Card) -> None:
    found = figures(np.load(FRAMES), card)
    variant = read_card(VARIANT).variant
    assert variant is not None
    assert CLASSES.shortfall(found, reduced=True) == ""
    assert {name: found[name] for name in FIGURES} == pytest.approx(
        {name: variant.agreement[name] for name in FIGURES}, abs=0.005
    )


def test_it_keeps_the_answers_of_the_exporters_photographs_that_it_was_not_calibrated_with(
    card: Card,
) -> None:
    names = [Path(name).stem for name in PHOTOGRAPHS]
    views = photographs(5 * len(names))
    others = [
        view for index, view in enumerate(views) if names[index % len(names)] not in CALIBRATED_WITH
    ]
    found = figures(fit_all(others, card.image_input), card)
    assert len(others) == 40
    assert found["clear"] >= 20
    assert CLASSES.shortfall(found, reduced=True) == ""


def test_its_frames_are_of_free_photographs_and_none_was_calibrated_with(card: Card) -> None:
    frames = np.load(FRAMES)
    made = frames_of(JUDGED_ON, card.image_input)
    assert frames.shape == made.shape == (len(VIEWS) * len(JUDGED_ON), 224, 224, 3)
    # Another release of Pillow or of its resize rounds a little differently.
    assert np.abs(frames.astype(int) - made).mean() < 0.5
    assert not set(CALIBRATED_WITH) & set(JUDGED_ON)
    notice = (MODELS.parent / "NOTICE").read_text(encoding="utf-8")
    part = notice.partition("models/efficientnet-lite0\n")[2].partition("\nmodels/")[0].lower()
    assert [name for name in (*CALIBRATED_WITH, *JUDGED_ON) if name not in part] == []


def test_a_service_in_fast_compares_it_and_one_in_exact_serves_the_servable(
    tmp_path: Path,
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    (models / NAME).symlink_to(MODELS / NAME)
    states = {}
    for precision in ("exact", "fast"):
        with serve(
            models=models, device="cpu", precision=precision, cache=tmp_path / "cache"
        ) as live:
            (states[precision],) = httpx.get(f"{live.url}/v1/models/{NAME}").json()["models"]
    assert (states["exact"]["precision"], states["exact"]["choice"]) == ("fp32", None)
    choice = states["fast"]["choice"]
    plain, variant = choice["ways"]
    assert choice["frames"] == len(VIEWS) * len(JUDGED_ON)
    assert (plain["precision"], variant["precision"]) == ("fp32", "int8")
    assert variant["agreement"]["top_class"] == 1  # whether it is faster depends on the processor
    assert [way["serves"] for way in choice["ways"]].count(True) == 1
