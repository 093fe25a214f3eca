"""What all unread answers hold: above the limit the connections end that cost most, bytes times seconds."""

from dataclasses import dataclass

from service.processes.unread import UnreadAnswers
from tests.service.runtime.clocks import ManualClock


@dataclass(eq=False)
class Reader:
    """A client that has read nothing of so many bytes."""

    bytes: int
    closed: bool = False

    def unread_bytes(self) -> int:
        return self.bytes

    def reset(self) -> None:
        self.closed = True


def test_above_the_limit_those_end_that_held_most_for_longest() -> None:
    clock = ManualClock()
    unread = UnreadAnswers(100, clock)
    small, large, young = Reader(10), Reader(50), Reader(41)
    unread.add(small)
    unread.add(large)
    clock.advance(1)
    unread.add(young)
    assert [one.closed for one in (small, large, young)] == [False, True, False]


def test_within_the_limit_nobody_ends_however_long_it_takes() -> None:
    clock = ManualClock()
    unread = UnreadAnswers(100, clock)
    readers = [Reader(50), Reader(50)]
    for one in readers:
        unread.add(one)
        clock.advance(1000)
    assert not any(one.closed for one in readers)


def test_what_was_read_or_closed_counts_no_more() -> None:
    clock = ManualClock()
    unread = UnreadAnswers(100, clock)
    first, second = Reader(60), Reader(60)
    unread.add(first)
    unread.remove(first)
    unread.remove(first)
    unread.add(second)
    assert not second.closed


def test_so_many_end_that_not_every_further_answer_ends_one() -> None:
    clock = ManualClock()
    unread = UnreadAnswers(80, clock)
    readers = [Reader(10) for _ in range(9)]
    for one in readers:
        unread.add(one)
        clock.advance(1)
    assert sum(one.closed for one in readers) == 2
