from benchmarks import targets
from benchmarks.cases import CASES
from benchmarks.contenders import FOVEAL, FOVEAL_ON_CPU, LIMIT
from benchmarks.results import CaseResult, Facts
from benchmarks.statistics import Sample, Spread


def a_sample(rate: float) -> Sample:
    return Sample(rate, 100, 0, 1.0, 10.0, 20.0)


def a_result(**rates: float) -> CaseResult:
    names = {"foveal": FOVEAL, "on_cpu": FOVEAL_ON_CPU, "limit": LIMIT, "mosec": "mosec"}
    samples = {names[key]: a_sample(rate) for key, rate in rates.items()}
    return CaseResult("case", {name: Facts() for name in samples}, {32: [samples]})


def test_a_share_of_the_limit_is_met_from_its_bound_on() -> None:
    target = targets.of_limit(0.93)
    found = target.measure(a_result(foveal=93, limit=100))

    assert found is not None
    assert target.is_met(found)
    assert not target.is_met(Spread(0.92, 0.9, 0.95))


def test_a_difference_is_met_up_to_its_bound() -> None:
    target = targets.latency_over_limit(1.5)

    assert target.is_met(Spread(1.5, 1.0, 2.0))
    assert not target.is_met(Spread(1.6, 1.0, 2.0))


def test_on_plain_cpu_the_service_is_compared_as_it_was_forced_to_run() -> None:
    found = targets.of_peers_on_plain_cpu(1.1).measure(a_result(foveal=500, on_cpu=120, mosec=100))

    assert found == Spread(1.2, 1.2, 1.2)


def test_where_the_service_runs_on_plain_cpu_anyway_it_is_compared_as_it_is() -> None:
    found = targets.of_peers_on_plain_cpu(1.1).measure(a_result(foveal=120, mosec=100))

    assert found == Spread(1.2, 1.2, 1.2)


def test_many_clients_are_compared_with_fewer_round_by_round() -> None:
    result = a_result(foveal=100)
    result.rounds[128] = [{FOVEAL: a_sample(97)}]

    assert targets.throughput_kept(0.95).measure(result) == Spread(0.97, 0.97, 0.97)


def test_what_was_not_measured_has_no_figure() -> None:
    empty = CaseResult("case")

    assert all(target.measure(empty) is None for case in CASES for target in case.targets)
