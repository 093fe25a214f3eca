"""A process that reads the images of sources once: `python -m tests.service.bulk.read_once URL…`.

It prints the checksum of each, or the code of its error.
"""

import json
import sys
import zlib
from io import BytesIO

from service.bulk.sources import Sources
from service.errors import FovealError


def main(*names: str) -> None:
    sources = Sources(names, 1 << 20, BytesIO())
    sources.check()
    read = {item.name: item.read() for item in sources.images()}
    found = {
        name: one.code if isinstance(one, FovealError) else zlib.crc32(one)
        for name, one in read.items()
    }
    print(json.dumps(found))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
