from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service.explain.maps import explain_maps
from service.explain.request import ExplainRequest, Form
from service.imaging.overlay import RenderedImage
from tests.service.explain.networks import STAGE, outputs_of, tiny_card
from tests.source_images import source_of

CARD = tiny_card("classify")
FRAME = np.zeros((16, 16, 3), np.uint8)
FRAME[2:6, 10:14] = (255, 0, 0)
SOURCE = source_of(32, 24, CARD.image_input)


def test_the_strongest_channels_come_first_and_no_more_than_wanted() -> None:
    request = ExplainRequest("maps", "json", channels=2)
    result = explain_maps(outputs_of(FRAME), FRAME, SOURCE, card=CARD, request=request)
    assert not isinstance(result, RenderedImage)
    (stage,) = result["stages"]
    assert [one["channel"] for one in stage["maps"]] == [0, 3]
    assert result["box"] == {"x_min": 0, "y_min": 0, "x_max": 32, "y_max": 24}


def test_a_single_channel_comes_with_its_values() -> None:
    request = ExplainRequest("maps", "json", stage=STAGE, channel=1, thumbnails=True)
    result = explain_maps(outputs_of(FRAME), FRAME, SOURCE, card=CARD, request=request)
    assert not isinstance(result, RenderedImage)
    (one,) = result["stages"][0]["maps"]
    assert np.array(one["values"]).shape == (8, 8)
    assert one["thumbnail"].startswith("data:image/png;base64,")


@pytest.mark.parametrize("form", ["overlay", "heat"])
def test_a_map_is_drawn_at_the_images_size(form: Form) -> None:
    request = ExplainRequest("maps", form, stage=STAGE, channel=0)
    result = explain_maps(outputs_of(FRAME), FRAME, SOURCE, card=CARD, request=request)
    assert isinstance(result, RenderedImage)
    drawn = np.asarray(Image.open(BytesIO(result.content))).astype(int)
    assert drawn.shape == (24, 32, 3)
    assert np.abs(drawn[6, 24] - drawn[20, 5]).sum() > 100


def test_sheets_show_all_stages_one_stage_or_one_channel() -> None:
    heights = set()
    for request in (
        ExplainRequest("maps", "sheet"),
        ExplainRequest("maps", "sheet", stage=STAGE),
        ExplainRequest("maps", "sheet", stage=STAGE, channel=0),
    ):
        card = CARD.model_copy(update={"stages": (STAGE, STAGE)})
        result = explain_maps(outputs_of(FRAME), FRAME, SOURCE, card=card, request=request)
        assert isinstance(result, RenderedImage)
        heights.add(Image.open(BytesIO(result.content)).height)
    assert len(heights) == 3
