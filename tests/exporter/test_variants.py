"""Variants beside a servable: what is written, what is refused, and what their cards say."""

import hashlib
import re
import tomllib
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

from exporter.cli import main
from exporter.errors import RecipeError, WriteError
from exporter.outcome import Exported
from service.card import Card
from service.servable_file import check_certificate, read_card
from tests.exporter.exporting import export_to, outputs_of
from tests.exporter.nets import LABELS, SIDE, save_weights, small
from tests.exporter.test_writing import files_up_to

pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = "python:tests.exporter.nets:Small"
COUNT = 40


def images(folder: Path) -> Path:
    """Write images of plain colors with some noise; the networks of these tests tell them apart."""
    random = np.random.default_rng(0)
    folder.mkdir()
    for index in range(COUNT):
        color = random.integers(0, 256, 3)
        pixels = np.clip(color + random.normal(0, 8, (SIDE, SIDE, 3)), 0, 255)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{index:02}.png")
    return folder


def exported(folder: Path, sharpness: float, *variants: str) -> Exported:
    """Export the small network with logits that are this many times as large, and its variants."""
    module = small()
    module.classifier.weight.data *= sharpness
    module.classifier.bias.data *= sharpness
    return export_to(
        folder,
        SMALL,
        weights=save_weights(module, folder),
        labels=LABELS,
        input={"height": SIDE, "width": SIDE},
        variants=variants,
        proof={"images": images(folder / "images"), "largest": 2, "agreement": 0.0},
    )


def test_variants_lie_beside_the_servable_with_the_frames_that_they_were_judged_on(
    tmp_path: Path,
) -> None:
    done = exported(tmp_path, 20, "int8", "bf16", "int8")

    assert [one.precision for one in done.variants] == ["fp32", "int8", "bf16"]
    folder = done.path.parent
    names = {"model.onnx", "int8.onnx", "bf16.onnx", "reference.npy"}
    assert {file.name for file in folder.iterdir()} == names
    frames = np.load(folder / "reference.npy")
    assert (frames.dtype, frames.shape) == (np.uint8, (COUNT // 2, SIDE, SIDE, 3))
    digest = hashlib.sha256((folder / "reference.npy").read_bytes()).hexdigest()
    truth = outputs_of(done.path, frames)["probabilities"]
    best = truth.argmax(axis=1)
    for precision in ("int8", "bf16"):
        path = folder / f"{precision}.onnx"
        card: Card = read_card(path)
        check_certificate(path, card)
        assert card.precision == precision
        assert card.variant is not None
        assert card.variant.of_sha256 == done.card.certificate.graph_sha256
        assert card.variant.reference_sha256 == digest
        found = outputs_of(path, frames)["probabilities"]
        change = np.abs(found - truth)[np.arange(len(best)), best].mean()
        reached = card.variant.agreement
        assert reached["probability_change"] == pytest.approx(change, abs=0.01)
        assert reached["top_class"] == 1
        assert card.certificate.images == len(frames)
    assert done.card.variant is None
    assert read_card(done.path).precision == "fp32"


def test_the_weights_of_a_variant_in_int8_have_eight_bits(tmp_path: Path) -> None:
    done = exported(tmp_path, 20, "int8")
    graph = onnx.load(done.path.with_name("int8.onnx")).graph
    weights = [
        np.abs(onnx.numpy_helper.to_array(one).astype(int)).max()
        for one in graph.initializer
        if one.data_type == onnx.TensorProto.INT8 and len(one.dims) > 1
    ]
    assert weights
    assert max(weights) == 127


def test_a_variant_that_proves_nothing_is_not_written_and_the_servable_is(tmp_path: Path) -> None:
    """Without a clear class in any image there is no answer to keep."""
    done = exported(tmp_path, 0.01, "bf16")
    assert [file.name for file in done.path.parent.iterdir()] == ["model.onnx"]
    refused = next(one for one in done.variants if one.precision == "bf16").refused
    assert "clear 0 where at least 8" in refused
    assert any("the variant in bf16 is not written" in hint for hint in done.hints)


def test_a_variant_of_an_earlier_export_does_not_stay(tmp_path: Path) -> None:
    stale = tmp_path / "1" / "bf16.onnx"
    stale.parent.mkdir()
    stale.write_bytes(b"old")
    exported(tmp_path, 0.01, "bf16")
    assert not stale.exists()


def test_a_disk_without_room_for_the_variants_keeps_the_servable(tmp_path: Path) -> None:
    with files_up_to(50_000), pytest.raises(WriteError) as refused:
        exported(tmp_path, 20, "int8")

    path = tmp_path / "1" / "model.onnx"
    assert re.search(
        r"reference\.npy can not be written: File too large\. No variant was written; the servable .* is whole",
        str(refused.value),
    )
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    check_certificate(path, read_card(path))


def test_variants_are_of_a_servable_in_fp32(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="Leave --precision out"):
        export_to(tmp_path, SMALL, precision="int8", variants="int8")


def test_the_command_takes_a_list_and_shows_what_each_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    module = small()
    module.classifier.weight.data *= 20
    weights = save_weights(module, tmp_path)
    Path("labels.txt").write_text("\n".join(LABELS))
    folder = images(tmp_path / "images")
    with pytest.raises(SystemExit) as ended:
        main(
            [
                SMALL,
                *("--task", "classify", "--name", "small", "--weights", weights),
                *("--labels", "labels.txt", "--height", str(SIDE), "--width", str(SIDE)),
                *("--images", str(folder), "--variants", "bf16,fp16", "--largest-batch", "2"),
            ]
        )
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "Variants, on this machine" in shown
    written = {file.name for file in Path("models/small/1").iterdir()}
    assert {"bf16.onnx", "fp16.onnx", "recipe.toml"} <= written
    recipe = tomllib.loads(Path("models/small/1/recipe.toml").read_text())
    assert recipe["variants"] == ["bf16", "fp16"]
