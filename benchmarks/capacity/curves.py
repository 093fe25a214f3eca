"""p99 against load, for 1 to 1,000 machines and each balancer, from one measurement."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.planning.balancing import BALANCERS
from service.planning.profile import Profile
from service.planning.simulation import Load, simulate

MACHINES = (1, 2, 10, 100, 1000)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)
QUEUE_SIZE = 1_000_000
"""No request is refused, so that the curves show what waiting alone makes of a load."""
TIMEOUT_SECONDS = 3600.0
REQUESTS_A_MACHINE = 300
LEAST_REQUESTS, MOST_REQUESTS = 100_000, 300_000


@dataclass(frozen=True, slots=True)
class Curve:
    """The p99 in seconds at each share of the capacity, for so many machines behind a balancer."""

    balancer: str
    machines: int
    shares: tuple[float, ...]
    p99: tuple[float, ...]


def curves_of(
    profile: Profile,
    progress: Callable[[str], None],
    *,
    machines: Sequence[int] = MACHINES,
    shares: Sequence[float] = SHARES,
    most_requests: int = MOST_REQUESTS,
) -> list[Curve]:
    """Simulate every balancer; with one machine of one process they are all the same, and one is simulated."""
    replica = profile.replica(queue_size=QUEUE_SIZE, timeout=TIMEOUT_SECONDS)
    curves = []
    for count in machines:
        processes = count * profile.processes
        requests = max(LEAST_REQUESTS, REQUESTS_A_MACHINE * processes)
        requests = min(most_requests, requests)
        for balancer in BALANCERS if processes > 1 else ("least-outstanding",):
            p99 = tuple(
                simulate(
                    replica,
                    Load(share * replica.capacity * processes, processes, balancer),
                    requests=requests,
                ).p99
                for share in shares
            )
            curves.append(Curve(balancer, count, tuple(shares), p99))
            progress(f"{count} machines, {balancer}: simulated")
    return curves
