import pytest

from service.api.negotiation import preferred
from service.media_types import FLOATS, JPEG, JSON, PNG


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        ("", JSON),
        ("*/*", JSON),
        ("image/png", PNG),
        ("IMAGE/JPEG;q=1", JPEG),
        ("image/*", PNG),
        ("image/*;q=0.5, image/jpeg", JPEG),
        ("image/png;q=0.2, application/json", JSON),
        ("text/html", JSON),
        ("image/png;q=nonsense, image/jpeg;q=0.1", JPEG),
        ("image/*;q=0.1, */*;q=0.5", JSON),
        ("*/*;q=0.5, image/*;q=0.9", PNG),
        ("application/json;q=0.9;v=2, image/jpeg;q=0.95", JPEG),
        ("image/png;q=0.2,, ,image/jpeg;q=0.3", JPEG),
        ("application/json;q=0.2, image/png;level=1;q=0.3", PNG),
        ("text/html,application/xhtml+xml,image/avif,image/webp,*/*;q=0.8", JSON),
    ],
)
def test_the_best_liked_offer_wins_and_the_first_where_none_is(accept: str, wanted: str) -> None:
    assert preferred(accept, [JSON, PNG, JPEG]) == wanted


def test_bytes_are_sent_to_those_who_ask_for_them() -> None:
    assert preferred("application/octet-stream", [JSON, FLOATS]) == FLOATS
