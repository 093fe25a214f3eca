"""Floods: how clients are counted, what is computed of the counts, and the clients themselves on a real socket."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from benchmarks.flood.crowd import (
    LARGE_BYTES,
    Crowd,
    Tally,
    bin_of,
    command_of,
    counted_line,
    parse_counted,
    time_of,
)
from benchmarks.flood.page import page_of, problems_of
from benchmarks.flood.run import GOOD, REFUSED, Flooded, Part
from benchmarks.machine import Machine

CROWD = Crowd("images", "/v1/classify", Path("cat.jpg"), "image/jpeg", 16)
MACHINE = Machine("a processor", 2, 8.0, (), "Linux", "3.11", {})


def tally(seconds: float = 10.0, unanswered: int = 0, **counts: int) -> Tally:
    """Return counts; `s200_40=3` are three answers with status 200 after 40 ms."""
    bins: Counter[tuple[int, int]] = Counter()
    for key, count in counts.items():
        status, milliseconds = key.removeprefix("s").split("_")
        bins[int(status), bin_of(int(milliseconds) / 1e3)] += count
    return Tally(seconds, bins, unanswered)


def part(flooded: Tally, after: Tally | None = None) -> Part:
    before = tally(s200_40=1000)
    return Part(CROWD, CROWD, before, flooded, after or before)


def result(one: Part, *, flood_cores: float = 0.0, memory_after: int = 100) -> Flooded:
    return Flooded("flood", (one,), 0.0, flood_cores, 100, 120, memory_after, cores=2.0)


def problems(one: Flooded) -> list[str]:
    return problems_of([one], deadline_ms=10_000)


@pytest.mark.parametrize("seconds", [0.0004, 0.0051, 0.25, 9.9])
def test_a_time_is_known_to_one_percent_from_its_bin(seconds: float) -> None:
    assert time_of(bin_of(seconds)) == pytest.approx(seconds, rel=0.011)


def test_a_printed_line_gives_the_same_counts() -> None:
    one = tally(seconds=60.5, unanswered=4, s200_40=7, s503_2=90)

    assert parse_counted(f"Running 1m test\n{counted_line(one)}\n") == one


def test_output_without_counts_is_an_error_that_shows_it() -> None:
    with pytest.raises(RuntimeError, match="unable to connect"):
        parse_counted("unable to connect to 127.0.0.1")


def test_answers_are_counted_by_status_and_per_second() -> None:
    one = tally(seconds=4.0, s200_40=8, s503_2=30, s503_9=2, s429_1=8)

    assert one.statuses == {200: 8, 429: 8, 503: 32}
    assert one.rate(GOOD) == 2
    assert one.rate(REFUSED) == 10


def test_quantiles_are_those_of_the_chosen_statuses() -> None:
    one = tally(s200_1000=99, s200_5000=1, s503_2=60, s503_20=39)

    assert one.quantile_ms(REFUSED, 0.5) == pytest.approx(2, rel=0.011)
    assert one.quantile_ms(GOOD, 0.99) == pytest.approx(1000, rel=0.011)
    assert one.quantile_ms(GOOD, 0.995) == pytest.approx(5000, rel=0.011)
    assert one.quantile_ms([504], 0.5) is None


def test_a_flood_has_as_many_clients_as_ask_ten_times_as_often() -> None:
    flooding = CROWD.flooding(rate=200.0, times=10.0, wait_seconds=0.5, waiting=256)

    assert (flooding.clients, flooding.wait_seconds) == (256 + 1000, 0.5)


def test_a_flood_that_keeps_every_promise_has_no_problem() -> None:
    one = part(tally(seconds=60.0, s200_900=5700, s503_3=100_000))

    assert one.goodput == pytest.approx(0.95)
    assert problems(result(one)) == []


def test_the_cores_that_the_clients_took_are_left_out_of_the_goodput() -> None:
    one = part(tally(s200_900=850, s503_3=9000))

    assert result(one, flood_cores=0.2).without_clients(one) == pytest.approx(0.85 / 0.9)


@pytest.mark.parametrize(
    ("flooded", "problem"),
    [
        (tally(s200_900=890, s503_3=9000), "goodput is 0.89 of the peak"),
        (tally(s503_3=9000), "goodput is 0.00 of the peak"),
        (tally(s200_900=1000, s503_12=9000), r"a refusal takes 1[12]\.\d ms"),
        (tally(s200_900=980, s200_12000=20), r"p99 of the results is 1\d{4} ms"),
        (tally(s200_900=1000, s504_10=2, s500_1=1), "other answers: 500: 1, 504: 2"),
        (tally(s200_900=1000, unanswered=3), "3 requests got no answer"),
    ],
)
def test_each_promise_that_is_not_kept_has_a_sentence(flooded: Tally, problem: str) -> None:
    (found,) = problems(result(part(flooded)))

    assert re.search(problem, found)


def test_a_service_that_stays_slow_or_large_after_the_flood_is_a_problem() -> None:
    slow = part(tally(s200_900=1000), after=tally(s200_40=800))

    assert problems(result(slow)) == ["flood, images: 0.80 of the peak is reached after it"]
    assert problems(result(part(tally(s200_900=1000)), memory_after=150)) == [
        "flood: memory is 1.50 times what it was before"
    ]


def test_a_peak_without_results_is_a_problem() -> None:
    one = Part(CROWD, CROWD, tally(s503_1=5), tally(s200_1=5), tally(s200_1=5))

    assert any("goodput is nan" in problem for problem in problems(result(one)))


def test_what_runs_beside_images_gets_what_they_leave_and_is_answered_all_the_same() -> None:
    images = part(tally(s200_900=1000))
    videos = part(tally(s503_3=100, s500_3=1))
    found = Flooded("flood", (images, videos), 0.0, 0.0, 100, 100, 100, cores=2.0)

    assert problems(found) == ["flood, images: other answers: 500: 1"]


def test_the_page_has_a_row_for_each_crowd_and_each_problem() -> None:
    found = result(part(tally(s200_900=500, s503_3=9000, s504_9=4)))
    page = page_of([found], problems(found), MACHINE, seconds=10, deadline_ms=10_000)

    (row,) = [line for line in page.splitlines() if line.startswith("| flood: images")]
    assert row.split(" | ")[1:5] == ["16", "100.0", "50.0", "0.50"]
    assert "504: 4" in row
    assert "- Not kept: flood, images: goodput is 0.50 of the peak." in page


class Answering(BaseHTTPRequestHandler):
    """Answers 200 and 503 by turns, each with the id of its request, and large bodies before they are there."""

    protocol_version = "HTTP/1.1"
    turns = 0

    def do_POST(self) -> None:  # the name that the base class calls
        length = int(self.headers["Content-Length"])
        if length < LARGE_BYTES:
            self.rfile.read(length)
        Answering.turns += 1
        self.send_response(503 if Answering.turns % 2 else 200)
        self.send_header("x-request-id", self.headers.get("X-Request-Id", ""))
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Write nothing."""


@contextmanager
def answering() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/classify"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def counted(size: int, folder: Path, *, wait_seconds: float) -> Tally:
    """Let four clients send a body of this size for a second, as the benchmark does."""
    body = folder / "body"
    body.write_bytes(bytes(size))
    crowd = Crowd("images", "/v1/classify", body, "image/jpeg", 4, wait_seconds)
    with answering() as url:
        done = subprocess.run(
            command_of(crowd, url, 1.0), capture_output=True, text=True, check=True, timeout=60
        )
    return parse_counted(done.stdout)


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed (apt install wrk)")
@pytest.mark.parametrize("wait_seconds", [0.0, 0.01])
def test_wrk_counts_statuses_and_times_each_request(tmp_path: Path, wait_seconds: float) -> None:
    found = counted(100, tmp_path, wait_seconds=wait_seconds)

    assert set(found.statuses) == {200, 503}
    assert (
        abs(found.statuses[200] - found.statuses[503]) <= 1 + 4
    )  # some were on their way at the end
    slowest = found.quantile_ms([200, 503], 1.0)
    assert slowest is not None
    assert 0 < slowest < 1100  # a time of the wrong request, or of none, would be years or none


def test_large_bodies_that_are_refused_before_their_end_are_counted(tmp_path: Path) -> None:
    found = counted(32 * LARGE_BYTES, tmp_path, wait_seconds=0.01)

    assert set(found.statuses) == {200, 503}
    assert sum(found.statuses.values()) > 4, "each client goes on after its first answer"
