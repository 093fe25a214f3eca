"""The servables in models/: their cards are right, and their outputs fit known images."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest

from exporter.heads.metrics import suppress
from exporter.recipe import read_recipe
from service.imaging.decode import Limits
from service.imaging.resize import fit_encoded
from service.servable_file import check_certificate, read_card
from tests.exporter.exporting import OUTPUTS, outputs_of

ROOT = Path(__file__).parents[2]
MODELS = sorted((ROOT / "models").glob("*/*/model.onnx"))
DIGITS = sorted((ROOT / "tests/data/digits").glob("*.png"))


def photograph(name: str) -> bytes:
    spec = find_spec("skimage")
    assert spec is not None
    assert spec.origin is not None
    return (Path(spec.origin).parent / "data" / name).read_bytes()


def seen(model: str, body: bytes) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    path = ROOT / "models" / model / "1" / "model.onnx"
    card = read_card(path)
    frame, _ = fit_encoded(body, card.image_input, Limits())
    return outputs_of(path, frame[None]), card.labels


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parts[-3])
def test_a_committed_servable_keeps_the_contract(path: Path) -> None:
    card = read_card(path)
    check_certificate(path, card)
    model = onnx.load(path)

    assert [value.name for value in model.graph.output] == list(OUTPUTS[card.task])
    assert {opset.domain for opset in model.opset_import} == {""}
    assert all(value.type.tensor_type.shape.dim[0].dim_param for value in model.graph.output)
    made = {name for node in model.graph.node for name in node.output}
    assert {stage.tensor for stage in card.stages} <= made
    assert card.certificate.agreement >= 0.98


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parts[-3])
def test_a_committed_card_states_the_values_that_the_graph_computes(path: Path) -> None:
    card = read_card(path)
    assert card.certificate.digest == 2
    if card.input is None:
        assert card.normalization is None
        return
    stated = card.normalization
    assert stated is not None
    assert stated.assumed == ()
    constants = {one.name: one for one in onnx.load(path).graph.initializer}
    gain, offset = (
        next(
            onnx.numpy_helper.to_array(constants[name]).ravel()
            for name in constants
            if part in name
        )
        for part in ("foveal.gain", "foveal.offset")
    )
    mean, std = np.array(stated.mean), np.array(stated.std)
    np.testing.assert_allclose(gain, stated.scale / std, rtol=1e-6)
    np.testing.assert_allclose(offset, -mean / std, rtol=1e-6)


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.parts[-3])
def test_a_committed_servable_has_the_recipe_it_was_made_from(path: Path) -> None:
    recipe = read_recipe(path.parents[1] / "recipe.toml")
    card = read_card(path)
    assert (recipe.name, recipe.task, recipe.license) == (card.name, card.task, card.license)
    assert card.name in (ROOT / "models/README.md").read_text(encoding="utf-8")
    assert f"models/{card.name}" in (ROOT / "NOTICE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("image", "label"),
    [("chelsea.png", "tabby"), ("coffee.png", "espresso"), ("rocket.jpg", "missile")],
)
def test_efficientnet_knows_the_photographs(image: str, label: str) -> None:
    found, labels = seen("efficientnet-lite0", photograph(image))
    best = found["probabilities"][0].argsort()[::-1][:5]
    assert label in {labels[index] for index in best}


@pytest.mark.parametrize("digit", DIGITS, ids=lambda path: path.stem)
def test_lenet5_reads_a_held_out_digit(digit: Path) -> None:
    found, labels = seen("lenet5", digit.read_bytes())
    assert labels[found["logits"][0].argmax()] == digit.stem[0]


def test_lenet5_reached_what_was_required() -> None:
    card = read_card(ROOT / "models/lenet5/1/model.onnx")
    assert card.scores["held_out_top1"] >= 0.975


@pytest.mark.parametrize(
    ("image", "label"),
    [("chelsea.png", "cat"), ("coffee.png", "cup"), ("astronaut.png", "person")],
)
def test_ssdlite_finds_the_thing(image: str, label: str) -> None:
    found, labels = seen("ssdlite-mobilenet-v2", photograph(image))
    boxes, scores, classes = (found[name][0] for name in ("boxes", "scores", "classes"))
    kept = suppress(boxes, scores, classes, 0.5)
    assert labels[classes[kept[0]]] == label
    assert scores[kept[0]] > 0.6


def test_u2netp_cuts_out_the_rocket() -> None:
    found, _ = seen("u2netp", photograph("rocket.jpg"))
    rows, columns = np.nonzero(found["mask"][0])
    assert 0.005 < len(rows) / found["mask"].size < 0.1
    assert 0.4 < columns.mean() / 320 < 0.6


def test_motion_reached_what_was_required_and_a_single_frame_does_not() -> None:
    card = read_card(ROOT / "models/motion/1/model.onnx")
    assert card.scores["held_out_top1"] >= 0.9
    assert card.scores["single_frame_top1"] <= 0.2
    backbone = read_card(ROOT / "models/glance/1/model.onnx")
    assert (card.backbone, card.backbone_sha256) == (
        backbone.name,
        backbone.certificate.graph_sha256,
    )


@pytest.mark.parametrize(
    "recipe_file", sorted((ROOT / "models").glob("*/recipe.toml")), ids=lambda path: path.parts[-2]
)
def test_a_committed_recipe_states_the_labels_that_its_servable_has(recipe_file: Path) -> None:
    recipe = read_recipe(recipe_file)
    labels = recipe.labels
    if isinstance(labels, str) and labels.startswith("package:"):
        pytest.importorskip(labels.removeprefix("package:").partition("/")[0])

    stated = recipe.label_list()

    card = read_card(recipe_file.parent / str(recipe.version) / "model.onnx")
    assert stated is None or stated == card.labels


def test_the_committed_detector_keeps_as_many_candidates_as_exports_do() -> None:
    path = ROOT / "models" / "ssdlite-mobilenet-v2"
    recipe = read_recipe(path / "recipe.toml")
    boxes = onnx.load(path / "1" / "model.onnx").graph.output[0]
    assert boxes.type.tensor_type.shape.dim[1].dim_value == recipe.detect.candidates == 2048
