from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidParameterError
from service.explain.filters import describe_filters, explain_filters, filters_sheet
from service.explain.request import ExplainRequest
from service.graph.first_layer import FirstLayer
from service.imaging.overlay import RenderedImage

WEIGHTS = np.zeros((3, 3, 1, 1), np.float32)
WEIGHTS[0] = 2
WEIGHTS[1, :, 0, 0] = (1, 0, -1)
FIRST = FirstLayer(WEIGHTS, (2, 2))
"""A gray filter, one of color only, one of zeros."""


def test_a_gray_filter_has_no_color_and_a_difference_of_colors_has_nothing_else() -> None:
    assert describe_filters(WEIGHTS) == [
        {"filter": 0, "norm": 3.464, "color": 0.0},
        {"filter": 1, "norm": 1.414, "color": 1.0},
        {"filter": 2, "norm": 0.0, "color": 0.0},
    ]


def test_the_layer_is_described() -> None:
    result = explain_filters("colors", FIRST, ExplainRequest("filters", "json"))
    assert not isinstance(result, RenderedImage)
    assert result["layer"] == {
        "filters": 3,
        "channels": 3,
        "height": 1,
        "width": 1,
        "stride": [2, 2],
    }
    assert not any("thumbnail" in one for one in result["filters"])


def test_thumbnails_are_added_where_the_request_wants_them() -> None:
    result = explain_filters("colors", FIRST, ExplainRequest("filters", "json", thumbnails=True))
    assert not isinstance(result, RenderedImage)
    assert all(one["thumbnail"].startswith("data:image/png;base64,") for one in result["filters"])


def test_the_sheet_is_a_png() -> None:
    result = explain_filters("colors", FIRST, ExplainRequest("filters", "sheet"))
    assert isinstance(result, RenderedImage)
    assert Image.open(BytesIO(result.content)).size == filters_sheet("colors", FIRST).size


def test_a_network_without_a_convolution_has_no_filters() -> None:
    with pytest.raises(InvalidParameterError, match="colors has no convolution"):
        explain_filters("colors", None, ExplainRequest("filters", "json"))
