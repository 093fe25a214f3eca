from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.load import (
    LoadRun,
    NoGeneratorError,
    Outcome,
    find_generator,
    hey_command,
    parse_hey,
    parse_wrk,
    wrk_command,
)

RUN = LoadRun("http://127.0.0.1:1/v1/classify", Path("cat.jpg"), "image/jpeg", 32, 4.0)

WRK = """\
Running 4s test @ http://127.0.0.1:1/v1/classify
  1 threads and 32 connections
  160 requests in 4.00s, 40.00KB read
Requests/sec:     40.00
summary {"requests": 160, "seconds": 4.0, "p50_ms": 25.5, "p99_ms": 60.25, "refused": 3, "unanswered": 2}
"""

HEY = """\
response-time,DNS+dialup,DNS,Request-write,Response-delay,Response-read,status-code,offset
0.0100,0.0074,0.0000,0.0001,0.0039,0.0001,200,0.0000
0.0300,0.0000,0.0000,0.0001,0.0008,0.0001,200,0.0100
0.0200,0.0000,0.0000,0.0001,0.0008,0.0001,200,0.0400
0.0010,0.0000,0.0000,0.0001,0.0008,0.0001,503,0.0990
"""


def test_the_summary_line_is_found_in_the_output_of_wrk() -> None:
    assert parse_wrk(WRK) == Outcome(157, 5, 4.0, 25.5, 60.25)


def test_wrk_without_a_summary_is_an_error_that_shows_its_output() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse_wrk("unable to connect to 127.0.0.1")


def test_the_rows_of_hey_become_quantiles_of_the_successful_answers() -> None:
    outcome = parse_hey(HEY)

    assert (outcome.answered, outcome.failed) == (3, 1)
    assert outcome.seconds == pytest.approx(0.1)
    assert (outcome.p50_ms, outcome.p99_ms) == pytest.approx((20.0, 30.0))


def test_hey_without_a_row_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no answer"):
        parse_hey("response-time,status-code,offset\n")


@pytest.mark.parametrize("command", [wrk_command, hey_command])
def test_a_command_has_the_url_the_body_the_clients_and_the_duration(
    command: Callable[[LoadRun], list[str]],
) -> None:
    words = command(RUN)

    assert RUN.url in words
    assert {"32", "4s", "image/jpeg", "cat.jpg"} <= set(words)


def test_without_a_generator_the_message_says_how_to_get_one() -> None:
    with pytest.raises(NoGeneratorError, match="apt install wrk"):
        find_generator(["no-such-program"])
