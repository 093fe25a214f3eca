from dataclasses import replace

import pytest

from benchmarks.perf_analyzer import Breakdown, parse

OUTPUT = """\
*** Measurement Settings ***
  Batch size: 1
  Using synchronous calls for inference

Request concurrency: 1
  Client: 
    Request count: 4075
    Throughput: 560.241 infer/sec
    Avg latency: 1779 usec (standard deviation 2419 usec)
    p99 latency: 11612 usec
    Avg HTTP time: 1771 usec (send/recv 75 usec + response wait 1696 usec)
  Server: 
    Inference count: 4075
    Execution count: 4075
    Successful request count: 4076
    Avg request latency: 555 usec (overhead 187 usec + queue 216 usec + compute input 0 usec + compute infer 151 usec + compute output 0 usec)

Request concurrency: 4
  Client: 
    Request count: 11391
    Throughput: 1558.73 infer/sec
    Avg latency: 2560 usec (standard deviation 1773 usec)
  Server: 
    Inference count: 11394
    Execution count: 11354
    Successful request count: 11394
    Avg request latency: 1041 usec (overhead 693 usec + queue 203 usec + compute input 0 usec + compute infer 144 usec + compute output 0 usec)

Inferences/Second vs. Client Average Batch Latency
Concurrency: 1, throughput: 560.241 infer/sec, latency 1779 usec
"""  # noqa: E501, W291  # as the program writes it
ONE = Breakdown(1, 560.241, 1779, 4075, 555, (187, 216, 0, 151, 0), 4076)


def test_each_concurrency_has_its_breakdown() -> None:
    one, four = parse(OUTPUT)
    assert one == ONE
    assert (four.concurrency, four.server, four.parts) == (4, 1041, (693, 203, 0, 144, 0))
    assert one.faults() == four.faults() == []


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        (replace(ONE, parts=(187, 216, 0, 151, 300)), "the parts add up to 854"),
        (replace(ONE, client=500), "the server took 555 µs of the client's 500"),
        (replace(ONE, served=1), "the server counted 1 of 4075 requests"),
    ],
)
def test_a_breakdown_that_can_not_be_is_named(wrong: Breakdown, fault: str) -> None:
    (found,) = wrong.faults()
    assert fault in found


@pytest.mark.parametrize(
    "output",
    ["error: failed to create client", OUTPUT.replace("Avg request latency", "Avg nothing")],
)
def test_without_a_breakdown_the_output_is_shown(output: str) -> None:
    with pytest.raises(ValueError, match="no breakdown in"):
        parse(output)
