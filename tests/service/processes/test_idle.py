from service.processes.idle import SPARED_SECONDS, IdleConnections


class Waiting:
    def __init__(self, idle: IdleConnections, since: float) -> None:
        self.waits = True
        self.closed = False
        self.idle_since = since
        idle.add(self)

    def close_idle(self) -> None:
        self.closed = True


def test_the_one_that_waits_longest_is_closed_and_none_that_has_a_request_or_just_came() -> None:
    idle = IdleConnections()
    busy, first, second = (Waiting(idle, 0) for _ in range(3))
    busy.waits = False
    now = SPARED_SECONDS + 1
    new = Waiting(idle, now)
    assert idle.close_oldest(now)
    assert idle.close_oldest(now)
    assert not idle.close_oldest(now)
    assert [one.closed for one in (busy, first, second, new)] == [False, True, True, False]


def test_one_that_waits_again_is_the_last_and_one_that_is_closed_is_forgotten() -> None:
    idle = IdleConnections()
    again, other, closed = (Waiting(idle, number) for number in range(3))
    idle.remove(closed)
    idle.remove(closed)
    again.idle_since = 3
    idle.add(again)
    now = 10 + SPARED_SECONDS
    assert (idle.close_oldest(now), other.closed, again.closed) == (True, True, False)
    assert (idle.close_oldest(now), again.closed) == (True, True)
    assert not idle.close_oldest(now)
    assert not closed.closed
