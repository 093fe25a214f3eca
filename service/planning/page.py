"""What `foveal plan` prints: what an image costs, how many machines it takes, and what loads and balancers change."""

import math
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.planning.plan import Plan
from service.planning.profile import Profile
from service.planning.replica import Replica


def print_plan(
    console: Console, profile: Profile, replica: Replica, plan: Plan, notes: Sequence[str]
) -> None:
    """Print a plan for people."""
    target, machine = plan.target, profile.machine
    console.print(
        f"[bold]{escape(profile.model)}[/] version {profile.version}, {escape(profile.image)}, on "
        f"{escape(str(machine))}, measured {profile.taken}"
    )
    for note in notes:
        console.print(f"[yellow]![/] {escape(note)}")
    console.print(_facts(profile, replica, plan))
    more = _in_words(plan.machines + 1, "machine")
    console.print(
        f"[bold]{_in_words(plan.machines, 'machine')}[/] for {target.per_second:g} requests a second, 99 % within "
        f"{target.p99 * 1e3:g} ms: {plan.machines * machine.cores:,} cores, "
        f"{plan.machines * profile.memory_bytes / 2**30:.3g} GiB, "
        f"{target.per_second * profile.image_bytes * 8 / 1e6:,.0f} Mbit/s of images; p50 {_ms(plan.result.p50)}, "
        f"p99 {_ms(plan.result.p99)}, workers busy for {plan.result.busy:.0%} of the time. "
        f"With {more} one may fail.",
        soft_wrap=True,
    )
    console.print(f"[italic]{_in_words(plan.machines, 'machine')} under other loads[/]")
    console.print(_loads(plan))
    if plan.balancers:
        console.print("[italic]The same load by other balancers[/]")
        console.print(_balancers(plan))


def as_json(profile: Profile, replica: Replica, plan: Plan, notes: Sequence[str]) -> dict[str, Any]:
    """Return a plan as plain values of JSON; times are milliseconds, and null where too many requests fail."""
    result, target = plan.result, plan.target
    return {
        "target": {"requests_per_second": target.per_second, "p99_ms": target.p99 * 1e3},
        "machines": plan.machines,
        "machines_with_a_spare": plan.machines + 1,
        "workers_per_machine": profile.processes,
        "cores": plan.machines * profile.machine.cores,
        "memory_bytes": plan.machines * profile.memory_bytes,
        "network_bits_per_second": target.per_second * profile.image_bytes * 8,
        "requests_per_second_of_a_machine": plan.capacity,
        "alone_ms": replica.alone * 1e3,
        "p50_ms": _finite(result.p50),
        "p99_ms": _finite(result.p99),
        "failed": result.failed,
        "busy": result.busy,
        "batch": result.batch,
        "balancer": plan.balancer,
        "balancers_p99_ms": {name: _finite(p99) for name, p99 in plan.balancers.items()},
        "loads": [
            {
                "requests_per_second": point.per_second,
                "p50_ms": _finite(point.p50),
                "p99_ms": _finite(point.p99),
                "failed": point.failed,
            }
            for point in plan.loads
        ],
        "notes": list(notes),
        "measurement": profile.model_dump(mode="json"),
    }


def _facts(profile: Profile, replica: Replica, plan: Plan) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    wide = replica.lone_run < replica.run[0]
    table.add_row(
        "an image alone",
        f"{_ms(replica.alone)}: HTTP {_ms(replica.http)}, decode {_ms(replica.decode)}, network {_ms(replica.lone_run)}"
        f"{' on all cores' if wide else ''}, head {_ms(replica.head)}",
    )
    pace = profile.macs / profile.seconds(1) / 1e9
    table.add_row(
        "the network",
        f"{profile.macs / 1e6:,.4g} million MACs an image, {pace:,.3g} billion a second in one run",
    )
    table.add_row(
        "a machine",
        f"at most {plan.capacity:,.4g} requests a second, {_in_words(profile.processes, 'worker')} with "
        f"{_in_words(replica.concurrency, 'batch')} at once of up to {_in_words(replica.largest, 'image')}, "
        f"{profile.memory_bytes / 2**20:,.0f} MiB",
    )
    if plan.one_less is not None:
        table.add_row(
            "one machine less",
            f"p99 {_ms(plan.one_less.p99)}, {plan.one_less.failed:.1%} refused or late",
        )
    return table


def _loads(plan: Plan) -> Table:
    table = Table(
        "of the capacity", "requests/s", "p50", "p99", "refused or late",
        box=None,
    )  # fmt: skip
    for point in plan.loads:
        share = point.per_second / (plan.capacity * plan.machines)
        table.add_row(
            f"{share:.0%}",
            f"{point.per_second:,.4g}",
            _ms(point.p50),
            _ms(point.p99),
            f"{point.failed:.1%}",
        )
    return table


def _balancers(plan: Plan) -> Table:
    table = Table(
        "balancer", "p99",
        box=None,
    )  # fmt: skip
    for name, p99 in plan.balancers.items():
        table.add_row(name, _ms(p99))
    return table


def _ms(seconds: float) -> str:
    if math.isinf(seconds):
        return "never (over 1 % fail)"
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:,.3g} s"


def _finite(seconds: float) -> float | None:
    return None if math.isinf(seconds) else seconds * 1e3


def _in_words(count: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else plural}"
