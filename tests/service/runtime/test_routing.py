from collections import Counter
from pathlib import Path

import pytest

from service.card import Card
from service.errors import NoDefaultModelError, UnknownVersionError
from service.runtime.fleet import Routes, Selector
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


def weighted(**weights: float) -> Routing:
    routes = Routes(aliases={"one": 1, "two": 2, "three": 3}, weights=weights)
    return Routing({}, {"a": routes})


VERSIONS = [model("a", 1), model("a", 2), model("a", 3)]


def test_the_newest_version_that_is_ready_answers() -> None:
    versions = [model("a", 1), model("a", 2), model("a", 3, ready=False)]
    assert Routing({}).version_of(versions).version == 2


def test_a_version_that_failed_gives_its_traffic_to_an_older_one_until_it_is_ready_again() -> None:
    versions = [model("a", 1), model("a", 2)]
    versions[1].mark_failed("did not answer")
    assert Routing({}).version_of(versions) is versions[0]
    versions[1].mark_ready()
    assert Routing({}).version_of(versions) is versions[1]


def test_the_newest_version_answers_also_where_it_must_be_loaded_first() -> None:
    versions = [model("a", 1), model("a", 2)]
    versions[1].state = "asleep"
    assert Routing({}).version_of(versions) is versions[1]


def test_where_no_version_is_ready_the_newest_says_why() -> None:
    versions = [model("a", 1, ready=False), model("a", 2, ready=False)]
    assert Routing({}).version_of(versions).version == 2


def test_a_task_is_answered_by_the_only_model_that_does_it() -> None:
    models = [model("a", task="segment"), model("b"), model("b", 2)]
    assert Routing({}).model_of(["classify"], "classify", models) == Selector("b")
    assert Routing({}).model_of(["detect"], "detect", models) is None


def test_a_second_model_takes_no_traffic_of_the_first_in_silence() -> None:
    models = [model("digits"), model("efficient")]
    with pytest.raises(NoDefaultModelError, match=r"2 models do classify.*: digits, efficient"):
        Routing({}).model_of(["classify"], "classify", models)


def test_a_default_decides_and_may_name_a_version_or_an_alias() -> None:
    models = [model("a"), model("b"), model("c", task="segment")]
    routing = Routing({"classify": Selector("b", alias="stable")})
    assert routing.model_of(["classify"], "classify", models) == Selector("b", alias="stable")
    assert routing.model_of(["segment"], "segment", models) == Selector("c")
    assert routing.model_of(["segment", "classify"], "shade", models) == Selector(
        "b", alias="stable"
    )


def test_a_backbone_of_a_temporal_head_is_chosen_by_name_or_default_only() -> None:
    models = [
        model("backbone", task="embed"),
        model("motion", task="temporal", backbone="backbone"),
        model("vectors", task="embed"),
    ]
    assert Routing({}).model_of(["embed"], "embed", models) == Selector("vectors")
    assert Routing({}).model_of(["embed"], "embed", models[:2]) is None
    chosen = Routing({"embed": Selector("backbone")})
    assert chosen.model_of(["embed"], "embed", models) == Selector("backbone")


def test_a_backbone_that_does_another_task_answers_that_task() -> None:
    models = [model("backbone"), model("motion", task="temporal", backbone="backbone")]
    assert Routing({}).model_of(["classify"], "classify", models) == Selector("backbone")


def test_shares_are_kept_to_within_one_request_over_any_stretch() -> None:
    routing = weighted(one=90, two=10)
    answered = [routing.version_of(VERSIONS).version for _ in range(200)]
    assert Counter(answered) == {1: 180, 2: 20}
    for start in range(0, 200, 20):
        assert Counter(answered[start : start + 20])[2] == 2


def test_a_version_that_can_not_answer_gives_its_share_to_the_others() -> None:
    versions = [model("a", 1), model("a", 2, ready=False), model("a", 3)]
    routing = weighted(one=50, two=25, three=25)
    answered = Counter(routing.version_of(versions).version for _ in range(30))
    assert answered == {1: 20, 3: 10}


def test_a_version_without_a_share_answers_nothing_unless_no_other_can() -> None:
    routing = weighted(one=100)
    assert {routing.version_of(VERSIONS).version for _ in range(10)} == {1}
    versions = [model("a", 1, ready=False), *VERSIONS[1:]]
    assert routing.version_of(versions).version == 3


def test_an_alias_leads_to_its_version_and_an_unknown_one_names_those_there_are() -> None:
    routing = weighted()
    assert routing.aliased("a", "two") == 2
    with pytest.raises(UnknownVersionError, match=r"no alias 'four'\. Aliases: one, three, two"):
        routing.aliased("a", "four")
    with pytest.raises(UnknownVersionError, match="Aliases: none"):
        routing.aliased("b", "one")


@pytest.mark.parametrize("shadow", ["2", "two"])
def test_a_shadow_is_a_version_or_an_alias(shadow: str) -> None:
    routing = Routing({}, {"a": Routes(aliases={"two": 2}, shadow=shadow)})
    assert routing.shadow_of(VERSIONS) is VERSIONS[1]
    assert routing.shadow_of([model("b")]) is None
    assert routing.shadow_of([VERSIONS[0], model("a", 2, ready=False)]) is None


def test_versions_with_a_share_that_can_answer_share_the_requests() -> None:
    versions = [model("a", 1), model("a", 2), model("a", 3)]
    routing = weighted(one=50, two=0, **{"3": 50})
    assert set(routing.sharing("a", versions)) == {1, 3}
    versions[2].mark_failed("did not answer")
    assert set(routing.sharing("a", versions)) == {1}
    assert not Routing({}).sharing("a", versions)
