"""A web server with the files of a folder, where each request is seen."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.file_server import FileServer, serve_files


@pytest.fixture
def web(tmp_path: Path) -> Iterator[FileServer]:
    root = tmp_path / "web"
    root.mkdir()
    with serve_files(root) as server:
        yield server
