"""What the sender is to do: plain values, known on both sides."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Order:
    """What to send: the scenario's name, the bodies, where to, by how many connections, how long and how fast.

    `rate` and `latency_ms` count in the Server scenario only: the queries a second, and what 99 % of them may take.
    """

    scenario: str
    port: int
    model: str
    bodies: tuple[str, ...]
    connections: int
    seconds: float
    rate: float
    latency_ms: float
    out: str
