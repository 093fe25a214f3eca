"""Files of a folder: what a path may cost that leads nowhere."""

from pathlib import Path

import httpx
import pytest

from service.api.static_folder import FileContent, StaticFolder


def test_a_path_that_is_too_long_is_not_looked_up(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "index.html").write_text("<p>home</p>")
    folder = StaticFolder(directory=tmp_path)
    there_and_back = "pages/../"
    _, found = folder.lookup_path(there_and_back * 100 + "index.html")
    assert found is not None
    assert found.st_size == 11
    assert folder.lookup_path(there_and_back * 200 + "index.html") == ("", None)


@pytest.mark.anyio
async def test_a_file_is_answered_whole_and_not_again_to_one_that_has_it(tmp_path: Path) -> None:
    (tmp_path / "x.css").write_text("h1 { margin: 0 }")
    app = StaticFolder(directory=tmp_path)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://test"
    ) as client:
        part = await client.get("/x.css", headers={"Range": "bytes=0-1"})
        assert (part.status_code, part.text) == (200, "h1 { margin: 0 }")
        assert part.headers["content-type"].startswith("text/css")
        assert part.headers["content-length"] == "16"
        assert "accept-ranges" not in part.headers
        again = await client.get("/x.css", headers={"If-None-Match": part.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.anyio
async def test_clients_that_do_not_read_their_answers_hold_a_file_once(tmp_path: Path) -> None:
    file = tmp_path / "x.js"
    file.write_text("before")
    app = StaticFolder(directory=tmp_path)

    async def body() -> bytes | memoryview:
        scope = {"type": "http", "method": "GET", "path": "/x.js", "headers": []}
        answer = await app.get_response("x.js", scope)
        assert isinstance(answer, FileContent)
        return answer.body

    first = await body()
    assert await body() is first
    file.write_text("and after")
    assert await body() == b"and after"
