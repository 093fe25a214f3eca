import math

import pytest

from service.errors import ConfigurationError
from service.planning.plan import Plan, Planner, Target
from service.planning.profile import Profile
from tests.service.planning.exponential import EXPONENTIAL
from tests.service.planning.profiles import make_profile


def plan(
    profile: Profile,
    per_second: float,
    p99: float,
    balancer: str = "random",
    *,
    requests: int = 4000,
) -> Plan:
    planner = Planner(
        profile, profile.replica(queue_size=10**6), balancer=balancer, requests=requests
    )
    return planner.plan(Target(per_second, p99))


def test_so_many_machines_are_planned_as_m_m_1_needs() -> None:
    markov = make_profile(factors=EXPONENTIAL[::20], lone_factors=EXPONENTIAL[::20])
    rate, p99 = 900.0, 0.15
    # The p99 of M/M/1 is ln 100 / (μ − λ): each machine may get λ = 100 − ln 100 / 0.15 = 69.3 a second.
    needed = math.ceil(rate / (100 - math.log(100) / p99))
    assert needed == 13
    made = plan(markov, rate, p99, requests=20_000)
    assert abs(made.machines - needed) <= 1
    assert made.result.p99 <= p99
    assert made.one_less is not None
    assert made.one_less.p99 > p99


def test_a_better_balancer_needs_fewer_machines() -> None:
    needed = [
        plan(make_profile(), 900.0, 0.025, balancer).machines
        for balancer in ("least-outstanding", "power-of-two", "random")
    ]
    assert needed[0] < needed[1] < needed[2]


def test_a_plan_compares_balancers_and_loads() -> None:
    made = plan(make_profile(), 300.0, 0.04, "least-outstanding")
    assert made.balancers["least-outstanding"] == made.result.p99 < made.balancers["random"]
    assert [point.p99 for point in made.loads] == sorted(point.p99 for point in made.loads)
    assert made.loads[-1].per_second == pytest.approx(0.95 * 100 * made.machines)


def test_several_workers_on_a_machine_are_as_many_processes() -> None:
    made = plan(make_profile(processes=4), 380.0, 0.2, "least-outstanding")
    assert made.capacity == pytest.approx(400)
    assert made.machines == 1
    assert set(made.balancers) == {"least-outstanding", "power-of-two", "round-robin", "random"}


def test_one_process_has_nothing_to_balance() -> None:
    made = plan(make_profile(), 10.0, 0.1)
    assert (made.machines, made.balancers, made.one_less) == (1, {}, None)


def test_no_machine_is_planned_above_its_capacity() -> None:
    # So few requests are simulated that an overload would not show in them.
    made = plan(make_profile(), 9900.0, 0.5, "least-outstanding", requests=2000)
    assert made.machines == math.ceil(9900 / 95)


def test_a_p99_below_the_time_of_an_image_is_impossible() -> None:
    with pytest.raises(
        ConfigurationError, match=r"99 % within 9 ms is not possible .* takes 10 ms"
    ):
        plan(make_profile(), 1.0, 0.009)


def test_a_p99_below_what_chance_makes_of_an_image_is_impossible() -> None:
    chancy = make_profile(lone_factors=(1.0,) * 19 + (3.0,))
    with pytest.raises(ConfigurationError, match="up to 30 ms"):
        plan(chancy, 1.0, 0.020)


@pytest.mark.parametrize(("rate", "p99"), [(1e6, 1.0), (99_000.0, 0.02)])
def test_more_machines_than_can_be_simulated_are_refused(rate: float, p99: float) -> None:
    few = make_profile(processes=200)  # so that five machines are the most
    with pytest.raises(ConfigurationError, match="simulated"):
        plan(few, rate, p99)


@pytest.mark.parametrize(
    ("rate", "p99", "named"),
    [(0.0, 1.0, "--rps"), (-5.0, 1.0, "--rps"), (math.nan, 1.0, "--rps"), (1.0, 0.0, "--p99"),
     (1.0, -1.0, "--p99"), (1.0, math.inf, "--p99")],
)  # fmt: skip
def test_what_is_no_target_is_refused(rate: float, p99: float, named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        plan(make_profile(), rate, p99)
