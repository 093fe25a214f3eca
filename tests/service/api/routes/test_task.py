"""Which form of a result a request wants."""

import pytest

from service.api.routes.task import choose_form
from service.errors import InvalidParameterError
from service.tasks.tasks import TASKS

PNG, JPEG, JSON = "image/png", "image/jpeg", "application/json"


@pytest.mark.parametrize(
    ("task", "form", "accept", "expected"),
    [
        ("detect", None, "", (None, JSON)),
        ("detect", None, "*/*", (None, JSON)),
        ("detect", "json", PNG, (None, JSON)),
        ("detect", "overlay", "", ("overlay", JPEG)),
        ("detect", "overlay", PNG, ("overlay", PNG)),
        ("detect", None, "image/*", ("overlay", JPEG)),
        ("detect", None, PNG, ("overlay", PNG)),
        ("segment", None, PNG, ("mask", PNG)),
        ("segment", None, JPEG, ("overlay", JPEG)),
        ("segment", None, "image/*", ("mask", PNG)),
        ("segment", "cutout", JPEG, ("cutout", PNG)),
        ("segment", None, "text/html, image/png;q=0.1", ("mask", PNG)),
        ("embed", None, "application/octet-stream", ("floats", "application/octet-stream")),
        ("embed", None, JSON, (None, JSON)),
    ],
)
def test_format_decides_then_accept(
    task: str, form: str | None, accept: str, expected: tuple[str | None, str]
) -> None:
    assert choose_form(TASKS[task], form, accept) == expected


def test_a_format_that_the_task_does_not_have_is_refused() -> None:
    with pytest.raises(InvalidParameterError, match=r"detect has no 'mask'\. Formats: overlay"):
        choose_form(TASKS["detect"], "mask", "")
