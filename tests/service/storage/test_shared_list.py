"""A list that several read: each page comes once, and an error reaches all."""

import threading
from collections.abc import Iterator

import pytest

from service.errors import StorageError
from service.storage.listing_pages import FoundFile
from service.storage.shared_list import SharedList

PAGES = [[FoundFile("a/ü.jpg", 1), FoundFile("a/?.jpg", None)], [], [FoundFile("b.jpg", 0)]]


def test_each_reader_gets_all_files_and_each_page_comes_once_when_it_is_needed() -> None:
    taken: list[int] = []

    def pages() -> Iterator[list[FoundFile]]:
        for number, page in enumerate(PAGES):
            taken.append(number)
            yield page

    shared = SharedList(pages())
    first, second = shared.files(), shared.files()
    assert [next(first), next(second), next(first)] == [PAGES[0][0], PAGES[0][0], PAGES[0][1]]
    assert taken == [0]
    whole = [file for page in PAGES for file in page]
    assert [*list(first), *list(second)] == [PAGES[2][0], *whole[1:]]
    assert list(shared.files()) == whole
    assert taken == [0, 1, 2]


def test_a_list_that_breaks_off_is_complete_for_nobody() -> None:
    def pages() -> Iterator[list[FoundFile]]:
        yield PAGES[0]
        raise StorageError("the place is gone")

    shared = SharedList(pages())
    for _ in range(2):
        files = shared.files()
        assert [next(files), next(files)] == PAGES[0]
        with pytest.raises(StorageError, match="gone"):
            next(files)


def test_what_has_come_is_read_while_another_reader_waits_for_the_next_page() -> None:
    asked, may_come = threading.Event(), threading.Event()

    def pages() -> Iterator[list[FoundFile]]:
        yield PAGES[0]
        asked.set()
        may_come.wait(60)
        yield PAGES[2]

    shared = SharedList(pages())
    waits = threading.Thread(target=lambda: list(shared.files()))
    waits.start()
    assert asked.wait(60)
    files = shared.files()
    assert [next(files), next(files)] == PAGES[0]
    may_come.set()
    assert list(files) == PAGES[2]
    waits.join()
