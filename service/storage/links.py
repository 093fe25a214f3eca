"""A page that a web server makes of a folder → what lies in that folder."""

from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

from service.errors import StorageError

MOST_PAGE_BYTES = 4 << 20
MOST_LINKS = 20_000


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            if len(self.found) >= MOST_LINKS:
                raise StorageError(
                    f"The page has more than {MOST_LINKS} links. Make several folders of it, or name the files in a "
                    "list.",
                    "invalid",
                )
            self.found += [value for name, value in attrs if name == "href" and value]


def folder_links(page: bytes, base: str) -> list[tuple[str, bool]]:
    """Return the names that a page links to in its own folder, and whether each is a folder, each once.

    Links to anywhere else, such as to the folder above, are left out.

    Args:
        page: HTML.
        base: the URL of the folder, with a slash at its end.

    Raises:
        StorageError: the page has more links than are read: a part of a folder must not pass for all of it.
    """
    parser = _Links()
    parser.feed(page.decode(errors="replace"))
    names: dict[str, bool] = {}
    for link in parser.found:
        try:
            target = urlsplit(urljoin(base, link))._replace(query="", fragment="").geturl()
        except ValueError:
            continue
        name = target.removeprefix(base)
        if name == target or not name or "/" in name.rstrip("/"):
            continue
        names[name.rstrip("/")] = name.endswith("/")
    return list(names.items())
