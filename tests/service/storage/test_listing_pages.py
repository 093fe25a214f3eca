"""Pages of a bucket's files as servers and proxies give them that are not those of AWS."""

from typing import Any

import pytest

from service.errors import StorageError
from service.storage.file_system import RemoteFiles
from service.storage.listing_pages import FoundFile, pages_below
from service.storage.url import StorageUrl

FIRST = {
    "IsTruncated": True,
    "NextContinuationToken": "next",
    "Contents": [{"Key": "a.jpg", "Size": 7}],
}
LAST = {"IsTruncated": False, "Contents": [{"Key": "b.jpg", "Size": 9}]}


class Bucket:
    """A file system whose bucket answers with these pages."""

    def __init__(self, *pages: dict[str, Any]) -> None:
        self.pages = iter(pages)

    def call_s3(self, *_: str, **__: str) -> dict[str, Any]:
        return next(self.pages)


def listed(*pages: dict[str, Any]) -> list[FoundFile]:
    files = RemoteFiles(StorageUrl("s3", "bucket"), Bucket(*pages))
    found = pages_below(files, "", "", lambda function: function())
    return [file for page in found for file in page]


def test_pages_follow_each_other_until_one_is_the_last() -> None:
    assert listed(FIRST, LAST) == [FoundFile("a.jpg", 7), FoundFile("b.jpg", 9)]


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([FIRST, {}], "something else than a page of files"),
        ([{"IsTruncated": True, "NextMarker": "a.jpg"}], "has more files than are on the page"),
        ([FIRST, FIRST], "has more files than are on the page"),
    ],
)
def test_a_list_that_does_not_go_on_is_not_taken_for_its_end(
    pages: list[dict[str, Any]], message: str
) -> None:
    with pytest.raises(StorageError, match=message):
        listed(*pages)
