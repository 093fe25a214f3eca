"""What an ONNX file's metadata states about pixel values."""

import onnx
import pytest
from onnx import helper

from exporter.recipe import Pixels
from exporter.sources.onnx_pixels import stated_pixels
from tests.exporter.nets import conv_onnx


def described(**metadata: str) -> onnx.ModelProto:
    model = conv_onnx([-1, 64])
    helper.set_model_props(model, metadata)
    return model


RANGE, FORMAT = "Image.NominalPixelRange", "Image.BitmapPixelFormat"
HALVES = (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("metadata", "pixels"),
    [
        ({}, None),
        ({"author": "somebody", "names": "{0: 'cat'}"}, None),
        ({"author": "Ultralytics", "names": "{0: 'cat'}"}, Pixels()),
        ({RANGE: "Normalized_0_1"}, Pixels()),
        ({RANGE: "Normalized_1_1"}, Pixels(mean=HALVES, std=HALVES)),
        ({RANGE: "NominalRange_0_255", FORMAT: "Bgr8"}, Pixels(scale=1.0, color="bgr")),
        ({RANGE: "Normalized_0_1", FORMAT: "Gray8"}, Pixels(color="gray")),
        ({RANGE: "NominalRange_16_235", FORMAT: "Rgb8"}, None),
    ],
)
def test_pixel_values_are_those_that_the_metadata_state(
    metadata: dict[str, str], pixels: Pixels | None
) -> None:
    assert stated_pixels(described(**metadata)) == pixels
