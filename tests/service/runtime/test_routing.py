from pathlib import Path

from service.card import Card
from service.runtime.model import Model
from service.runtime.repository import Servable
from service.runtime.routing import Routing
from tests.servables import color_card


def model(name: str, version: int = 1, *, ready: bool = True, **card: object) -> Model:
    changed: Card = color_card().model_copy(update=card)
    made = Model(Servable(name, version, Path(name), changed))
    if ready:
        made.mark_ready()
    return made


def test_the_newest_version_that_is_ready_answers() -> None:
    versions = [model("a", 1), model("a", 2), model("a", 3, ready=False)]
    assert Routing({}).version_of(versions).version == 2


def test_a_version_that_failed_gives_its_traffic_to_an_older_one_until_it_is_ready_again() -> None:
    versions = [model("a", 1), model("a", 2)]
    versions[1].mark_failed("did not answer")
    assert Routing({}).version_of(versions) is versions[0]
    versions[1].mark_ready()
    assert Routing({}).version_of(versions) is versions[1]


def test_where_no_version_is_ready_the_newest_says_why() -> None:
    versions = [model("a", 1, ready=False), model("a", 2, ready=False)]
    assert Routing({}).version_of(versions).version == 2


def test_a_task_is_answered_by_the_first_model_that_does_it() -> None:
    models = [model("a", task="segment"), model("b"), model("c")]
    assert Routing({}).model_of("classify", models) == "b"
    assert Routing({}).model_of("detect", models) is None


def test_the_setting_goes_before_the_order() -> None:
    models = [model("a"), model("b"), model("c", task="segment")]
    routing = Routing({"classify": "b"})
    assert routing.model_of("classify", models) == "b"
    assert routing.model_of("segment", models) == "c"


def test_a_backbone_of_a_temporal_head_is_chosen_by_name_or_setting_only() -> None:
    models = [
        model("backbone", task="embed"),
        model("motion", task="temporal", backbone="backbone"),
        model("vectors", task="embed"),
    ]
    assert Routing({}).model_of("embed", models) == "vectors"
    assert Routing({}).model_of("embed", models[:2]) is None
    assert Routing({"embed": "backbone"}).model_of("embed", models) == "backbone"


def test_a_backbone_that_does_another_task_answers_that_task() -> None:
    models = [model("backbone"), model("motion", task="temporal", backbone="backbone")]
    assert Routing({}).model_of("classify", models) == "backbone"
