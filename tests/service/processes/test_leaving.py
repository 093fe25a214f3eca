from functools import partial

from service.processes.leaving import LeavingConnections


def test_only_the_oldest_are_given_up_each_once_and_all_count_until_they_are_closed() -> None:
    given_up: list[int] = []
    leaving = LeavingConnections(most=2)
    for number in (3, 1, 2, 1):
        leaving.add(number, partial(given_up.append, number))
    leaving.give_up_oldest()
    leaving.give_up_oldest()
    assert given_up == [3]
    assert (len(leaving), 3 in leaving) == (3, True)
    leaving.remove(3)
    leaving.remove(9)
    assert (len(leaving), 3 in leaving) == (2, False)
    leaving.remove(1)
    leaving.add(4, lambda: given_up.append(4))
    leaving.give_up_oldest()
    assert given_up == [3]


def test_one_is_given_up_for_another_unless_one_is_just_being_closed() -> None:
    given_up: list[int] = []
    leaving = LeavingConnections()
    assert not leaving.give_up_one()
    for number in (1, 2):
        leaving.add(number, partial(given_up.append, number))
    assert leaving.give_up_one()
    assert leaving.give_up_one()
    assert given_up == [1]
    leaving.remove(1)
    assert leaving.give_up_one()
    assert given_up == [1, 2]
    leaving.remove(2)
    assert not leaving.give_up_one()


def test_one_that_has_closed_is_not_given_up() -> None:
    given_up: list[int] = []
    leaving = LeavingConnections(most=0)
    leaving.add(1, lambda: given_up.append(1))
    leaving.remove(1)
    leaving.give_up_oldest()
    assert given_up == []
