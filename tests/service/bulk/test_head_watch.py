"""A head that answers, comes back, or is gone."""

import pytest

from service.bulk.head_watch import head_is_gone
from service.errors import ConfigurationError

pytestmark = pytest.mark.anyio


def silent() -> None:
    raise ConfigurationError("There is no Ray at here: Connection refused.")


async def test_a_head_that_stays_away_is_gone_and_the_remedy_is_named() -> None:
    error = await head_is_gone(silent, look_seconds=0, gone_seconds=0)
    assert "There is no Ray at here: Connection refused." in str(error)
    assert "--resume" in str(error)


async def test_a_head_that_comes_back_is_not_gone() -> None:
    answers = iter([False, True] * 20)
    seen = []
    silences = []

    def look() -> None:
        seen.append(answers_now := next(answers, None))
        if answers_now is None:
            raise RuntimeError("looked at forty times")
        if not answers_now:
            silent()

    with pytest.raises(RuntimeError, match="forty"):
        await head_is_gone(
            look,
            look_seconds=0,
            gone_seconds=5,
            clock=lambda: len(seen),
            on_silent=lambda: silences.append(len(seen)),
        )
    assert len(seen) == 41
    assert silences == list(range(1, 40, 2))
