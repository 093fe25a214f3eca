"""A test has the time that its kind needs on a slow machine, and no more."""

from pathlib import Path

import pytest

from tests.conftest import LIMITS, limit_of

TESTS = Path(__file__).parent


@pytest.mark.parametrize("folder", LIMITS)
def test_every_folder_with_a_limit_of_its_own_has_tests(folder: str) -> None:
    found = list((TESTS / folder).rglob("test_*.py"))
    assert found
    assert {limit_of(path) for path in found} == {LIMITS[folder]}


def test_tests_of_plain_code_are_stopped_early() -> None:
    assert limit_of(TESTS / "service/runtime/test_batcher.py") == 0
    assert limit_of(Path(__file__)) == 0


def test_each_collected_test_has_the_limit_of_its_kind(request: pytest.FixtureRequest) -> None:
    given = float(request.config.getoption("timeout") or 0)
    for item in request.session.items:
        marker = item.get_closest_marker("timeout")
        if limit_of(item.path) > given:
            assert marker is not None, item.nodeid
