"""`foveal.toml`, and what selects a model."""

import json
from pathlib import Path

import pytest

from service.errors import ConfigurationError, InvalidParameterError
from service.runtime.fleet import (
    NO_FLEET,
    Latest,
    ModelPlan,
    Selector,
    is_version,
    parse_selector,
    read_fleet,
    read_routes,
)

WHOLE = """
[defaults]
classify = "resnet50@stable"
detect = "ssd:2"
segment = "u2"

[models.resnet50]
versions = "latest-2"
aliases = {stable = 1, canary = 3}
weights = {stable = 90, canary = 10}
shadow = "canary"
ttl_seconds = 600
"""


def test_a_file_says_what_is_wanted(tmp_path: Path) -> None:
    (tmp_path / "foveal.toml").write_text(WHOLE)
    fleet = read_fleet(tmp_path)
    assert fleet.defaults == {
        "classify": Selector("resnet50", alias="stable"),
        "detect": Selector("ssd", version=2),
        "segment": Selector("u2"),
    }
    plan = fleet.plan("resnet50")
    assert plan.versions == Latest(count=2)
    assert plan.aliases == {"stable": 1, "canary": 3}
    assert plan.weights == {"stable": 90, "canary": 10}
    assert (plan.shadow, plan.ttl_seconds) == ("canary", 600)
    assert fleet.plan("another").versions == "all"


@pytest.mark.parametrize("versions", ["all", "latest-2", [1, 3]])
def test_a_plan_is_the_same_after_its_way_to_another_process(versions: object) -> None:
    plan = ModelPlan.model_validate({"versions": versions, "aliases": {"stable": 1}})
    sent = plan.model_dump_json()
    assert ModelPlan.model_validate_json(sent) == plan
    assert json.loads(sent)["versions"] == versions


def test_without_a_file_nothing_is_wanted(tmp_path: Path) -> None:
    assert read_fleet(tmp_path) is NO_FLEET


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('versions = "newest"', 'write "all", "latest-2" or a list of versions'),
        ('versions = "latest-0"', 'write "all", "latest-2" or a list of versions'),
        ("versions = []", 'write "all", "latest-2" or a list of versions'),
        ("versions = [0]", 'write "all", "latest-2" or a list of versions'),
        ("versions = true", 'write "all", "latest-2" or a list of versions'),
        ("aliases = {1 = 2}", "'1' can not be an alias"),
        ("aliases = {Stable = 2}", "'Stable' can not be an alias"),
        ("aliases = {stable = 0}", "greater than or equal to 1"),
        ("aliases = {stable = 1.5}", "valid integer"),
        ("weights = {1 = 50, 2 = 40}", "the shares add up to 90, not to 100"),
        (
            "weights = {1 = 1e-320, 2 = 100}",
            "a share is 0, or 0.0001 at least",
        ),
        ("weights = {1 = true, 2 = 99}", "valid number"),
        ('weights = {1 = "100"}', "valid number"),
        ("weights = {1 = -10, 2 = 110}", "a share is 0 to 100"),
        ("weights = {1 = nan}", "a share is 0 to 100"),
        ("weights = {1 = inf}", "a share is 0 to 100"),
        ("ttl_seconds = 0", "greater than 0"),
        ("ttl_seconds = inf", "finite"),
        ("ttl = 5", "ttl: There is no such entry"),
    ],
)
def test_what_can_not_be_wanted_is_named_with_its_place(
    tmp_path: Path, line: str, reason: str
) -> None:
    (tmp_path / "foveal.toml").write_text(f"[models.a]\n{line}\n")
    with pytest.raises(ConfigurationError, match=r"foveal\.toml: models\.a\.") as refused:
        read_fleet(tmp_path)
    assert reason in str(refused.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[defaults", "is not TOML"),
        ("\xff", "is not UTF-8"),
        ('[defaults]\nclassify = "../a:1"', "selects no model"),
        ("defaults = 3", "defaults"),
        ("[model.a]", "model: There is no such entry"),
    ],
)
def test_a_file_that_can_not_be_read_is_named(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "foveal.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"foveal\.toml") as refused:
        read_fleet(tmp_path)
    assert reason in str(refused.value)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "foveal.toml").mkdir()
    with pytest.raises(ConfigurationError, match=r"foveal\.toml: it .*regular"):
        read_fleet(tmp_path)


def test_a_link_that_leads_nowhere_is_named_and_not_taken_for_no_file(tmp_path: Path) -> None:
    (tmp_path / "foveal.toml").symlink_to(tmp_path / "gone.toml")
    with pytest.raises(ConfigurationError, match="leads nowhere"):
        read_fleet(tmp_path)


@pytest.mark.parametrize(
    "text", ["0", "01", "007", "0" * 18, "1" * 19, "0" * 18 + "1" * 5000, "1" * 5000, "\u0661"]
)
def test_a_version_has_at_most_18_digits(text: str) -> None:
    """Python reads no number of more than 4,300."""
    assert not is_version(text)
    with pytest.raises(InvalidParameterError, match="selects no model"):
        parse_selector(f"a:{text}")
    assert read_routes({"weights": {text: 100}}).targets() == {f"the share of {text}": None}


@pytest.mark.parametrize("text", ["a", "a:1", "a@b", "efficientnet-lite0:12", "a.b_c@canary-2"])
def test_a_selector_is_written_as_it_was_read(text: str) -> None:
    assert str(parse_selector(text)) == text


@pytest.mark.parametrize(
    "text", ["a:", "a@", ":1", "@b", "a:0", "a:x", "a:1.0", "a:-1", "a@1", "a@B", "../a:1", "a:²"]
)
def test_what_selects_nothing_is_refused(text: str) -> None:
    with pytest.raises(InvalidParameterError, match="selects no model"):
        parse_selector(text)


def test_routes_from_outside_are_checked_like_those_of_the_file() -> None:
    assert read_routes({"shadow": 3}).shadow == "3"
    with pytest.raises(InvalidParameterError, match="add up to 30"):
        read_routes({"weights": {"1": 30}})
