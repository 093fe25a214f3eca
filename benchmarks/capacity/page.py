"""The page of a comparison, as Markdown."""

from collections.abc import Sequence

from benchmarks.capacity.comparison import QUEUE_SIZE, RUNS, Level, Range
from service.planning.profile import Profile

QUIET_CORES = 0.1


def page_of(profile: Profile, levels: Sequence[Level], command: str) -> str:
    """Return the page."""
    wide = "" if profile.wide is None else f", on all cores {profile.wide * 1e3:.3g} ms"
    network = f"network {profile.batches[0].seconds * 1e3:.3g} ms{wide}"
    largest = profile.batches[-1]
    foreign = max([profile.foreign_cores or 0.0, *(level.foreign_cores for level in levels)])
    busy = (
        f"\n**Other work took up to {foreign:.2f} cores: these figures are rough.** Run it again on a quiet machine.\n"
        if foreign > QUIET_CORES
        else ""
    )
    return f"""# Does the service do what `foveal plan` predicts?

`{command}`, {profile.taken}, {profile.machine}.
{busy}
{profile.model} version {profile.version}, {profile.image}, {profile.processes} worker(s): HTTP
{profile.http * 1e3:.3g} ms, decode {profile.decode * 1e3:.3g} ms, {network} (a batch of {largest.size}:
{largest.seconds * 1e3:.3g} ms), head {profile.head * 1e3:.3g} ms; while all cores are busy a batch takes
{profile.crowded:.2f} times as long. At full load one machine answers {profile.full_load:.4g} requests a second,
{profile.efficiency:.2f} of what the stages alone would let through, with {profile.memory_bytes / 2**20:.0f} MiB.

Requests come at random times. Each cell has what was measured, then what was predicted: the median of {RUNS}
simulations of the same length, and their 5th to 95th percentile. The queue has {QUEUE_SIZE} places.

| of full load | requests/s | answered/s | p50, ms | p99, ms | p99 from the stages alone | refused or late |
|---|---|---|---|---|---|---|
{"".join(_row(level) for level in levels)}
![p99 against load for 1 to 1,000 machines and four balancers](capacity.svg)
"""


def _row(level: Level) -> str:
    return (
        f"| {level.share:.0%} | {level.per_second:.4g} "
        f"| {level.answered:.4g}; {_words(level.predicted_answered)} "
        f"| {level.p50_ms:.3g}; {_words(level.predicted_p50_ms)} "
        f"| {level.p99_ms:.3g}; {_words(level.predicted_p99_ms)} "
        f"| {_words(level.from_stages)} "
        f"| {level.failed:.1%}; {level.predicted_failed.median:.1%} |\n"
    )


def _words(found: Range) -> str:
    return f"{found.median:.3g} [{found.low:.3g}–{found.high:.3g}]"
