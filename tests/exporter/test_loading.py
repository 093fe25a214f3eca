"""Damaged ONNX files are refused in words: onnx itself reads names that are no text, and fails on them later."""

import random
from pathlib import Path

import onnx
import pytest

from exporter.errors import ExportError, RecipeError, SourceError
from exporter.inspection import inspect_file
from exporter.loading import NoTextError, load_onnx
from tests.exporter.exporting import export_to
from tests.exporter.nets import conv_onnx

LABELS = [f"kind {index}" for index in range(16)]


def damaged(path: Path, old: bytes, new: bytes) -> Path:
    path.write_bytes(conv_onnx([-1, 16]).SerializeToString().replace(old, new))
    return path


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    path = damaged(tmp_path / "net.onnx", b"pixels", b"pi\xf5els")

    with pytest.raises(NoTextError, match=r"the name b'pi\\xf5els' in it is no text"):
        load_onnx(path)
    message = r"net\.onnx is not an ONNX file, or damaged: the name .* Download or export it again"
    with pytest.raises(SourceError, match=message):
        export_to(tmp_path, "onnx:net.onnx", labels=LABELS)
    with pytest.raises(SourceError, match=message):
        list(inspect_file(path))


def test_names_in_attributes_and_of_weights_are_looked_at(tmp_path: Path) -> None:
    for place, kind in enumerate((b"strides", b"w1")):
        path = damaged(tmp_path / f"{place}.onnx", kind, kind[:-1] + b"\xff")
        assert kind[:-1] + b"\xff" in path.read_bytes(), kind
        with pytest.raises(NoTextError):
            load_onnx(path)
    whole = conv_onnx([-1, 16])
    onnx.save(whole, tmp_path / "whole.onnx")
    assert load_onnx(tmp_path / "whole.onnx") == whole


def test_a_file_with_changed_bytes_is_exported_or_refused_in_words(tmp_path: Path) -> None:
    made = random.Random(3)
    whole = conv_onnx([-1, 16]).SerializeToString()
    refused = 0
    for number in range(60):
        body = bytearray(whole)
        for _ in range(made.choice((1, 2, 5))):
            # The nodes stand at the beginning, the inputs and outputs at the end, and between them the weights.
            place = made.choice(
                (made.randrange(len(body)), made.randrange(300), -made.randrange(1, 150))
            )
            body[place] ^= 1 << made.randrange(8)
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "net.onnx").write_bytes(body)
        try:
            export_to(folder, "onnx:net.onnx", labels=LABELS)
        except ExportError as error:
            refused += not isinstance(error, RecipeError)
            assert str(error)
    assert refused > 10
