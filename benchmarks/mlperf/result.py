"""A result of a scenario, as it is kept in `results.json` beside the generator's logs."""

from dataclasses import dataclass

SINGLE_STREAM, SERVER, OFFLINE = "SingleStream", "Server", "Offline"
SCENARIOS = (SINGLE_STREAM, OFFLINE, SERVER)
"""In the order in which they run: the rate of Server follows from that of Offline."""


@dataclass(frozen=True, slots=True)
class Result:
    """What the load generator found.

    Attributes:
        valid: by its own rules with our shorter duration, and every request was answered with 200.
        per_second: images that were answered.
        bound_ms: what 99 % of the queries may take; Server only.
        rate: queries a second that were asked for; Server only.
        reason: why it is not valid.
        failed: requests without an answer 200.
        foreign_cores: what other programs used meanwhile.
        sender_cores: what the generator with its connections used.
    """

    model: str
    scenario: str
    valid: bool
    generator: str
    per_second: float
    p90_ms: float
    p99_ms: float
    reason: str
    date: str
    commit: str
    precision: str
    seconds: float
    failed: int
    foreign_cores: float
    sender_cores: float
    bound_ms: float | None = None
    rate: float | None = None
