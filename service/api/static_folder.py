"""Files of a folder under a path, for everyone: no page needs a key, and none is counted in rate limits."""

import os

from fastapi.staticfiles import StaticFiles

LONGEST_PATH = 1024
"""Characters of a file's path. The system is asked about each folder on the way: 62,000 characters took 0.5 s."""


class StaticFolder(StaticFiles):
    """A folder whose files have short paths."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Return the file of a path and what the system says of it, None where there is none."""
        return ("", None) if len(path) > LONGEST_PATH else super().lookup_path(path)
