from typing import Any

import numpy as np
import pytest

from service.card import Card
from service.errors import InvalidParameterError, OverloadedError
from service.explain.cam import choose_method, eigen_method, exact_method, one_run_method
from service.explain.heat import MethodName, Subject
from service.explain.request import ExplainRequest
from service.graph.anatomy import Anatomy
from service.graph.linear_head import LinearHead
from service.heads.targets import AreaTarget, ClassTarget
from tests.images import plain
from tests.service.explain.networks import STAGE, outputs_of, tiny_card
from tests.service.explain.running import Bench
from tests.source_images import source_of

WEIGHTS = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], np.float32)
HEAD = LinearHead("map", WEIGHTS, np.array([0.5, 0, 0], np.float32), channels_last=False)
LINEAR, OTHER = Anatomy(None, HEAD, {}), Anatomy(None, None, {})
CLASSIFY, DETECT = tiny_card("classify"), tiny_card("detect")
BARE = CLASSIFY.model_copy(update={"stages": ()})
FRAME = np.zeros((16, 16, 3), np.uint8)
FRAME[4, 12], FRAME[10, 2] = (255, 0, 0), (0, 255, 0)
RED = ClassTarget("red", 0, 0.9, 1.0)
SUBJECT = Subject(FRAME, source_of(16, 16, CLASSIFY.image_input), RED, 0.9)


@pytest.mark.parametrize(
    ("card", "anatomy", "request_", "name"),
    [
        (CLASSIFY, LINEAR, ExplainRequest("cam", "json"), "cam"),
        (CLASSIFY, OTHER, ExplainRequest("cam", "json"), "eigencam"),
        (BARE, OTHER, ExplainRequest("cam", "json"), "rise"),
        (DETECT, OTHER, ExplainRequest("cam", "json"), "rise"),
        (DETECT, OTHER, ExplainRequest("cam", "json", stage=STAGE), "eigencam"),
        (DETECT, OTHER, ExplainRequest("cam", "json", method="eigencam"), "eigencam"),
        (CLASSIFY, LINEAR, ExplainRequest("cam", "json", method="rise"), "rise"),
        (CLASSIFY, LINEAR, ExplainRequest("cam", "json", stage=STAGE), "eigencam"),
    ],
)
def test_the_method_is_the_named_one_or_the_first_that_the_network_allows(
    card: Card, anatomy: Anatomy, request_: ExplainRequest, name: MethodName
) -> None:
    assert choose_method(card, anatomy, request_).name == name


@pytest.mark.parametrize(("card", "others"), [(CLASSIFY, "eigencam, rise"), (BARE, "rise")])
def test_exact_cam_needs_a_linear_head(card: Card, others: str) -> None:
    with pytest.raises(InvalidParameterError, match=f"Methods: {others}\\."):
        choose_method(card, OTHER, ExplainRequest("cam", "json", method="cam"))


def test_exact_cam_is_hot_where_the_class_is() -> None:
    read = exact_method(HEAD, CLASSIFY).read
    assert read is not None
    made = read(outputs_of(FRAME), SUBJECT)
    assert divmod(int(made.heat.values.argmax()), 8) == (2, 6)
    assert (made.stage, made.bias) == ("stage_1", 0.5)


def test_maps_with_their_channels_last_give_the_same_heat() -> None:
    outputs = outputs_of(FRAME)
    turned = {**outputs, "map": outputs["map"].transpose(1, 2, 0)}
    last = LinearHead("map", HEAD.weights, HEAD.bias, channels_last=True)
    one, other = exact_method(HEAD, CLASSIFY).read, exact_method(last, CLASSIFY).read
    assert one is not None
    assert other is not None
    made, same = one(outputs, SUBJECT), other(turned, SUBJECT)
    np.testing.assert_array_equal(made.heat.values, same.heat.values)


def test_eigencam_points_to_the_target() -> None:
    area = np.zeros((16, 16), np.bool_)
    area[8:, 8:] = True
    subject = Subject(FRAME, SUBJECT.source, AreaTarget("thing", 1, area, 0.25, 2), 0.5)
    read = eigen_method(CLASSIFY, STAGE).read
    assert read is not None
    made = read(outputs_of(FRAME), subject)
    assert made.heat.values[4:, 4:].min() > made.heat.values[2, 6]
    assert (made.stage, made.how) == ("stage_1", "EigenCAM of stage_1")


@pytest.mark.parametrize(("shapes", "name"), [([9, 5, 1], "b"), ([3, 2, 1], "c")])
def test_eigencam_takes_the_deepest_map_with_enough_places(shapes: list[int], name: str) -> None:
    stages = [STAGE.model_copy(update={"name": one, "tensor": one}) for one in "abc"]
    outputs = {
        one: np.zeros((4, side, side), np.float32) for one, side in zip("abc", shapes, strict=True)
    }
    read = eigen_method(CLASSIFY.model_copy(update={"stages": tuple(stages)})).read
    assert read is not None
    assert read(outputs, SUBJECT).stage == name


def test_one_run_is_enough_for_exact_cam_or_eigencam() -> None:
    assert one_run_method(CLASSIFY, LINEAR).name == "cam"
    assert one_run_method(CLASSIFY, OTHER).name == "eigencam"


@pytest.mark.anyio
async def test_a_heat_without_copies_takes_no_place(tiny_models: Bench) -> None:
    with tiny_models.engine.runner.fan_out.admit():
        result = await tiny_models.explain("tiny-classify", plain("red"), view="cam", score=False)
        assert result["method"] == "cam"
        assert "scores" not in result


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model", "options"),
    [
        ("tiny-classify", {"view": "cam"}),
        ("tiny-detect", {"view": "cam", "score": False}),
        ("tiny-classify", {"view": "occlusion", "score": False}),
        ("tiny-classify", {"view": "rise", "score": False}),
        ("tiny-classify", {"view": "probe"}),
    ],
)
async def test_whatever_runs_copies_takes_a_place(
    tiny_models: Bench, model: str, options: dict[str, Any]
) -> None:
    with tiny_models.engine.runner.fan_out.admit(), pytest.raises(OverloadedError):
        await tiny_models.explain(model, plain("red"), **options)
    await tiny_models.explain(model, plain("red"), **options)


@pytest.mark.anyio
async def test_the_mean_of_an_exact_map_and_the_bias_are_the_logit(tiny_models: Bench) -> None:
    result = await tiny_models.explain("tiny-classify", plain("green"), view="cam", score=False)
    target = result["target"]
    assert target["label"] == "green"
    assert np.mean(result["heat"]["values"]) + target["bias"] == pytest.approx(
        target["logit"], rel=1e-3
    )
