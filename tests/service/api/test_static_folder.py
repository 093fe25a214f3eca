"""Files of a folder: what a path may cost that leads nowhere."""

from pathlib import Path

from service.api.static_folder import StaticFolder


def test_a_path_that_is_too_long_is_not_looked_up(tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "index.html").write_text("<p>home</p>")
    folder = StaticFolder(directory=tmp_path)
    there_and_back = "pages/../"
    _, found = folder.lookup_path(there_and_back * 100 + "index.html")
    assert found is not None
    assert found.st_size == 11
    assert folder.lookup_path(there_and_back * 200 + "index.html") == ("", None)
