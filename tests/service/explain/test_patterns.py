from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidParameterError
from service.explain.patterns import explain_patterns
from service.explain.request import ExplainRequest
from service.graph.anatomy import Anatomy
from service.graph.receptive_field import ReceptiveField
from service.imaging.overlay import RenderedImage
from tests.service.explain.networks import STAGE, outputs_of, tiny_card
from tests.source_images import source_of

CARD = tiny_card("classify")
ANATOMY = Anatomy(None, None, {"map": ReceptiveField((3.0, 3.0), (2.0, 2.0))})
FRAME = np.zeros((16, 16, 3), np.uint8)
FRAME[4, 10], FRAME[12, 2] = (255, 0, 0), (200, 0, 0)
SOURCE = source_of(32, 32, CARD.image_input)


def test_the_peaks_of_a_channel_lie_where_it_is_highest() -> None:
    request = ExplainRequest("patterns", "json", stage=STAGE, channel=0, thumbnails=True)
    result = explain_patterns(
        outputs_of(FRAME), FRAME, SOURCE, card=CARD, anatomy=ANATOMY, request=request
    )
    assert not isinstance(result, RenderedImage)
    assert [(peak["row"], peak["column"]) for peak in result["peaks"]] == [(2, 5), (6, 1)]
    box = result["peaks"][0]["box"]
    assert box["x_min"] < 22 < box["x_max"]
    assert box["y_min"] < 10 < box["y_max"]
    assert result["peaks"][0]["thumbnail"].startswith("data:image/png;base64,")


def test_without_a_channel_the_strongest_is_taken() -> None:
    request = ExplainRequest("patterns", "json", count=1)
    result = explain_patterns(
        outputs_of(FRAME), FRAME, SOURCE, card=CARD, anatomy=ANATOMY, request=request
    )
    assert not isinstance(result, RenderedImage)
    assert (result["stage"], result["channel"], len(result["peaks"])) == ("stage_1", 0, 1)
    assert "thumbnail" not in result["peaks"][0]


def test_the_sheet_is_a_png() -> None:
    request = ExplainRequest("patterns", "sheet")
    result = explain_patterns(
        outputs_of(FRAME), FRAME, SOURCE, card=CARD, anatomy=ANATOMY, request=request
    )
    assert isinstance(result, RenderedImage)
    assert Image.open(BytesIO(result.content)).width == 1240


def test_a_stage_that_does_not_depend_on_the_image_has_no_patterns() -> None:
    request = ExplainRequest("patterns", "json")
    with pytest.raises(InvalidParameterError, match="stage_1"):
        explain_patterns(
            outputs_of(FRAME),
            FRAME,
            SOURCE,
            card=CARD,
            anatomy=Anatomy(None, None, {}),
            request=request,
        )
