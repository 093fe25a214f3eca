"""Memory over many batches, with numbers made by hand."""

import mmap

import pytest

from benchmarks.gpu.growth import MIB, Growth, growth_of, host_bytes, run_batches, sizes_in_turn


def test_memory_that_stays_after_it_is_warm_does_not_grow() -> None:
    values = [100 * MIB, 300 * MIB, *[500 * MIB] * 38]

    found = growth_of("host", values)

    assert found == Growth(0.0, 16.0)
    assert found.holds


def test_a_leak_of_a_mebibyte_a_sample_grows_by_half_of_the_warm_samples() -> None:
    # 40 samples, the last 30 of them warm: the medians of the halves lie 15 samples apart.
    found = growth_of("device", [index * MIB for index in range(40)])

    assert found == Growth(15.0, 8.0)
    assert not found.holds


def test_a_single_peak_is_no_growth() -> None:
    found = growth_of("host", [*[500 * MIB] * 39, 900 * MIB])

    assert found is not None
    assert found.holds


def test_too_few_samples_are_not_judged() -> None:
    assert growth_of("host", [MIB] * 19) is None


def test_as_many_batches_run_as_are_enough_and_every_twentieth_is_sampled() -> None:
    ran: list[int] = []

    found = run_batches(ran.append, seconds=60, device_bytes=lambda: 7, most=100)

    assert ran == list(range(100))
    assert (found.batches, len(found.host), found.device) == (100, 5, [7] * 5)


def test_the_time_ends_the_batches() -> None:
    now = iter([0.0, 1.0, 2.0, 3.0, 4.0])

    found = run_batches(
        lambda _: None, seconds=2.5, device_bytes=lambda: None, clock=lambda: next(now)
    )

    assert found.batches == 2


def test_memory_that_is_held_is_seen() -> None:
    before = host_bytes()
    with mmap.mmap(-1, 64 * MIB) as held:  # a bytearray may get memory that others have freed
        held[:] = b"x" * len(held)

        assert host_bytes() - before > 0.9 * len(held)


@pytest.mark.parametrize(
    ("largest", "expected"), [(8, [1, 3, 2, 4, 1]), (2, [1, 2, 2, 2, 1]), (1, [1] * 5)]
)
def test_the_sizes_of_the_batches_take_turns(largest: int, expected: list[int]) -> None:
    sizes = sizes_in_turn(largest)

    assert [next(sizes) for _ in range(5)] == expected
