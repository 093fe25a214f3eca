"""A process that looks at a place once: `python -m tests.service.storage.fetch_once URL CACHE [FILE_BYTES]`."""

import json
import logging
import resource
import sys
from pathlib import Path

from service.storage.opening import Fetching, open_storage
from service.storage.url import parse_url


def main(url: str, cache: str, *most: str) -> None:
    logging.basicConfig(level="INFO", stream=sys.stderr, format="%(message)s")
    for count in map(int, most):
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, count))
    storage = open_storage(parse_url(url), Fetching(Path(cache), 1 << 30, 60, 0))
    storage.refresh()
    servables, refusals = storage.scan()
    print(  # noqa: T201
        json.dumps([[str(one.path) for one in servables], [one.reason for one in refusals]])
    )
    storage.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
