"""Time that passes when the test says so."""

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Clock:
    """A clock for durations; call it for the time in seconds."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Alarm:
    due: float
    call: Callable[[], None]
    canceled: bool = False

    def cancel(self) -> None:
        self.canceled = True


@dataclass
class Timer:
    """In place of the event loop's `call_later`: calls are made when `advance` reaches them."""

    now: float = 0.0
    alarms: list[Alarm] = field(default_factory=list)

    def __call__(self, seconds: float, call: Callable[[], None]) -> Alarm:
        alarm = Alarm(self.now + seconds, call)
        self.alarms.append(alarm)
        return alarm

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for alarm in [one for one in self.alarms if one.due <= self.now]:
            self.alarms.remove(alarm)
            if not alarm.canceled:
                alarm.call()
