"""Notices batches that do not end: their threads get a replacement, and their callers an answer."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from service.logs import LOGGER
from service.runtime.turns import Turn
from service.runtime.workers import Workers

log = logging.getLogger(LOGGER)

ROUND_SECONDS = 1.0
RETURN_SECONDS = 10.0
"""How long a run that was given up, and stopped where it can be stopped, has to come back until it is abandoned."""

Sleep = Callable[[float], Awaitable[object]]
"""Waits for so many seconds, as `asyncio.sleep` does."""


@dataclass(slots=True)
class _Seen:
    """How far a batch was in the last round, and for how many rounds."""

    progress: object
    rounds: int = 0


class Watchdog:
    """Looks at every batch that runs, in rounds, and gives up those that have stayed at one place for too long.

    Long before, it puts a spare thread in the place of one that is in a run far beyond its usual time.

    A run that does not come back within `RETURN_SECONDS` after that is abandoned: its lane decides what that means.

    Time is counted in rounds and not by the clock, so that a machine that slept, or a process that was stopped, does
    not take all its batches for stuck when it wakes up.

    Args:
        workers: the threads that it looks after.
        round_seconds: how long it waits between two rounds.
        sleep: waits.
    """

    def __init__(
        self, workers: Workers, round_seconds: float = ROUND_SECONDS, sleep: Sleep = asyncio.sleep
    ) -> None:
        self._workers = workers
        self._round_seconds = round_seconds
        self._sleep = sleep
        self._seen: dict[Turn, _Seen] = {}
        self._given_up: dict[Turn, int] = {}

    async def watch(self) -> None:
        """Make rounds without end; on the event loop whose callers get the answers."""
        while True:
            await self._sleep(self._round_seconds)
            self.make_round()

    def make_round(self) -> None:
        """Look at every batch that runs now."""
        if dead := self._workers.replace_dead():
            log.error("%d threads that run batches had died and were replaced.", dead)
        self._abandon_late()
        before, self._seen = self._seen, {}
        for worker, turn, progress, limit in self._workers.at_work():
            seen = before.get(turn)
            if seen is None or seen.progress != progress:
                seen = _Seen(progress)
            else:
                seen.rounds += 1
            seconds = seen.rounds * self._round_seconds
            if seconds < limit:
                self._seen[turn] = seen
                if seconds >= turn.seat.lane.overdue_seconds(turn):
                    self._workers.put_aside(worker, turn)
            elif self._workers.give_up(worker, turn):
                turn.seat.lane.answer(turn, seconds)
                self._given_up[turn] = 0
        # At the end, since what one lane has given up counts for all of its model.
        for lane in self._workers.lanes():
            lane.look()

    def _abandon_late(self) -> None:
        before, self._given_up = self._given_up, {}
        for turn, rounds in before.items():
            if not self._workers.is_out(turn):
                continue
            if (rounds + 1) * self._round_seconds < RETURN_SECONDS:
                self._given_up[turn] = rounds + 1
            else:
                turn.seat.lane.abandon(turn)
