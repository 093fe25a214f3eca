"""The judge of the corpora, held against answers that are right and wrong by one thing each."""

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

from tests.clips import counting
from tests.corpora.judge import Answer, Limits, faults_of, pixels_of

LIMITS = Limits(cpu_seconds=2, clock_seconds=8, extra_mib=300)
GOOD = Answer(200, "", cpu_seconds=0.1, clock_seconds=0.2, extra_mib=5)
REFUSED = replace(GOOD, status=415, code="unsupported_image")


def png(width: int, height: int) -> bytes:
    stream = BytesIO()
    Image.new("1", (width, height)).save(stream, "PNG")
    return stream.getvalue()


def faults(answer: Answer, body: bytes = b"") -> list[str]:
    return list(faults_of(answer, body, {"unsupported_image"}, LIMITS))


@pytest.mark.parametrize("answer", [GOOD, REFUSED])
def test_a_result_and_a_refusal_with_a_known_code_are_right(answer: Answer) -> None:
    assert faults(answer) == []


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (replace(GOOD, status=500, code="internal_error"), "answered 500 internal_error"),
        (replace(GOOD, status=302), "answered 302 "),
        (
            replace(REFUSED, code="what"),
            "answered 415 with the code 'what', which is in no table",
        ),
        (replace(GOOD, cpu_seconds=2.1), "took 2.1 s of CPU; at most 2 s"),
        (replace(REFUSED, clock_seconds=8.4), "took 8.4 s; at most 8 s"),
        (replace(GOOD, extra_mib=301), "took 301 MiB; at most 300 MiB for its pixels"),
    ],
)
def test_each_wrong_thing_is_named(answer: Answer, fault: str) -> None:
    assert faults(answer) == [fault]


def test_the_pixels_of_an_image_need_memory() -> None:
    """A thousand by a thousand pixels take at most 16 MB."""
    assert faults(replace(GOOD, extra_mib=315), png(1000, 1000)) == []
    assert faults(replace(GOOD, extra_mib=316), png(1000, 1000)) == [
        "took 316 MiB; at most 315 MiB for its pixels"
    ]


def test_pixels_are_those_of_the_header() -> None:
    assert pixels_of(png(30, 20)) == 600
    assert pixels_of(counting(3)) == 64 * 48
    assert pixels_of(b"neither") == 0
