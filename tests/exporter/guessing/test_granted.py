"""What is taken for granted is shown as it is written on the command line."""

import pytest

from exporter.guessing.granted import Granted, is_given


def test_an_option_has_hyphens_and_a_list_its_parts() -> None:
    one = Granted("shorter_side", 224, "why")

    assert (one.option, one.shown, one.why) == ("--shorter-side", "224", "why")
    assert Granted("arg", ["num_classes=3", "depth=2"], "").shown == "num_classes=3 depth=2"
    assert Granted("arg", [], "").shown == ""


@pytest.mark.parametrize(
    ("value", "given"),
    [(None, False), ([], False), ((), False), (0, True), (False, True), ("", True), (["a"], True)],
)
def test_an_option_without_a_value_was_not_given(value: object, *, given: bool) -> None:
    assert is_given({"one": value}, "one") == given
    assert not is_given({"one": value}, "other")
