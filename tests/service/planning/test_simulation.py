"""The simulation beside the closed forms of queueing theory, which know nothing of it."""

import math
from dataclasses import replace
from math import inf

import pytest

from service.errors import ConfigurationError
from service.planning.balancing import BALANCERS
from service.planning.replica import Replica
from service.planning.simulation import MOST_REQUESTS, Load, Result, simulate
from tests.service.planning.exponential import EXPONENTIAL

CONSTANT = Replica((1.0,), queue_size=10**6, timeout=1e9)
"""A process that takes one second for each request, and never refuses one."""
MARKOV = replace(CONSTANT, factors=EXPONENTIAL)


def erlang_c(servers: int, load: float) -> float:
    """Return the probability of waiting in M/M/c by Erlang's recursion; `load` in Erlang."""
    blocked = 1.0
    for count in range(1, servers + 1):
        blocked = load * blocked / (count + load * blocked)
    return blocked / (1 - load / servers * (1 - blocked))


def root_of_erlang_arrivals(stages: int, rate: float) -> float:
    """Return the root below 1 of x = (kr / (kr + 1 − x))^k, of E_k/M/1 with service rate 1 and arrival rate r."""
    root = 0.5
    for _ in range(200):
        root = (stages * rate / (stages * rate + 1 - root)) ** stages
    return root


def test_one_exponential_server_waits_as_m_m_1() -> None:
    result = simulate(MARKOV, Load(0.7), requests=120_000)
    assert result.mean == pytest.approx(1 / (1 - 0.7), rel=0.04)
    assert result.p50 == pytest.approx(math.log(2) / 0.3, rel=0.05)
    assert result.p99 == pytest.approx(math.log(100) / 0.3, rel=0.08)
    assert result.busy == pytest.approx(0.7, rel=0.02)


@pytest.mark.parametrize("load", [0.3, 0.8])
def test_constant_times_wait_as_pollaczek_and_khinchine_say(load: float) -> None:
    result = simulate(CONSTANT, Load(load), requests=80_000)
    assert result.mean == pytest.approx(1 + load / (2 * (1 - load)), rel=0.03)


def test_several_workers_wait_as_erlang_c_says() -> None:
    four = replace(MARKOV, workers=4, instances=4)
    result = simulate(four, Load(3.2), requests=100_000)
    assert result.mean == pytest.approx(1 + erlang_c(4, 3.2) / (4 - 3.2), rel=0.04)


def test_a_full_queue_refuses_as_m_m_1_k() -> None:
    places, rate = 5, 1.2
    result = simulate(replace(MARKOV, queue_size=places - 1), Load(rate), requests=60_000)
    blocked = (1 - rate) * rate**places / (1 - rate ** (places + 1))
    assert result.failed == pytest.approx(blocked, rel=0.05)


def test_an_overloaded_process_answers_full_batches() -> None:
    batching = Replica((1.0, 1.2, 1.4, 1.6), queue_size=64)
    result = simulate(batching, Load(10.0), requests=20_000)
    assert batching.capacity == pytest.approx(4 / 1.6)
    assert result.answered == pytest.approx(4 / 1.6, rel=0.01)
    assert result.batch == pytest.approx(4, rel=0.01)


def test_an_overloaded_process_with_every_stage_answers_its_capacity() -> None:
    every = Replica(
        (0.010, 0.016), workers=2, instances=2, decode=0.003, head=0.001, http=0.0005, crowded=1.3
    )
    result = simulate(every, Load(3 * every.capacity), requests=20_000)
    assert result.answered == pytest.approx(every.capacity, rel=0.02)


def test_decoders_that_are_slower_than_the_network_are_the_limit() -> None:
    decoding = Replica((0.001,), workers=2, instances=2, decode=0.008, head=0.002, decoders=3)
    result = simulate(decoding, Load(1000.0), requests=20_000)
    assert decoding.capacity == pytest.approx(3 / 0.010)
    assert result.answered == pytest.approx(300, rel=0.02)


def test_an_event_loop_that_is_slower_than_the_workers_is_the_limit() -> None:
    chatty = Replica((0.001,), workers=8, instances=8, http=0.004)
    assert chatty.capacity == pytest.approx(250)
    result = simulate(chatty, Load(240.0), requests=20_000)
    assert result.answered == pytest.approx(240, rel=0.03)
    # Each request passes the loop twice, 2 ms each, as M/D/1 with twice as many arrivals at least.
    assert result.mean > 0.005 + 0.002 * 0.96 / (2 * 0.04)


def test_an_image_alone_takes_the_sum_of_its_stages() -> None:
    calm = Replica((0.010,), workers=2, instances=2, decode=0.003, head=0.001, http=0.0005)
    result = simulate(calm, Load(0.01), requests=2000)
    assert result.p50 == pytest.approx(0.0145)
    assert calm.alone == pytest.approx(0.0145)


def test_random_balancing_leaves_each_process_alone() -> None:
    result = simulate(MARKOV, Load(70.0, 100, "random"), requests=120_000)
    assert result.mean == pytest.approx(1 / 0.3, rel=0.04)


def test_the_better_of_two_waits_as_mitzenmacher_says() -> None:
    rate = 0.9
    result = simulate(MARKOV, Load(rate * 200, 200, "power-of-two"), requests=120_000)
    limit = sum(rate ** (2**step - 2) for step in range(1, 12))
    assert result.mean == pytest.approx(limit, rel=0.05)


def test_round_robin_gives_each_process_regular_arrivals() -> None:
    count, rate = 10, 0.8
    result = simulate(MARKOV, Load(rate * count, count, "round-robin"), requests=120_000)
    assert result.mean == pytest.approx(1 / (1 - root_of_erlang_arrivals(count, rate)), rel=0.04)


def test_the_least_outstanding_lies_between_one_queue_and_the_better_of_two() -> None:
    load = Load(0.9 * 20, 20)
    least = simulate(MARKOV, load, requests=60_000).mean
    two = simulate(MARKOV, replace(load, balancer="power-of-two"), requests=60_000).mean
    assert 1 + erlang_c(20, 18.0) / 2 < least < two


@pytest.mark.parametrize("balancer", BALANCERS)
def test_a_seed_gives_the_same_result_again(balancer: str) -> None:
    def run(seed: int) -> Result:
        jittery = replace(MARKOV, http=0.01, lone_factors=(0.9, 1.1))
        return simulate(jittery, Load(2.0, 3, balancer), requests=3000, seed=seed)

    assert run(7).latencies.tolist() == run(7).latencies.tolist()
    assert run(7).latencies.tolist() != run(8).latencies.tolist()


def test_a_thousand_processes_are_simulated() -> None:
    result = simulate(CONSTANT, Load(500.0, 1000), requests=20_000)
    assert result.p99 == pytest.approx(1.0)


def test_requests_that_fail_count_as_later_than_any() -> None:
    result = simulate(replace(CONSTANT, timeout=2.0), Load(3.0), requests=5000)
    assert result.latencies.max() < 2.0
    # First come, first served: under overload most are late before or while they run.
    assert result.failed > 0.9
    assert result.p99 == inf


@pytest.mark.parametrize(
    ("load", "requests"),
    [
        (Load(0.0), 10),
        (Load(-1.0), 10),
        (Load(inf), 10),
        (Load(math.nan), 10),
        (Load(1.0, 0), 10),
        (Load(1.0, 1001), 10),
        (Load(1.0), 0),
        (Load(1.0), MOST_REQUESTS + 1),
        (Load(1.0, 1, "fair"), 10),
    ],
)
def test_what_can_not_be_simulated_is_refused(load: Load, requests: int) -> None:
    with pytest.raises(ConfigurationError):
        simulate(CONSTANT, load, requests=requests)
