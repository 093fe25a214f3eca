"""Files that an operator writes: whatever lies there, reading ends, with the content or one of our errors."""

import os
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.toml_file import read_toml


def test_a_file_and_a_link_to_it_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("[a]\nb = 1\n")
    (tmp_path / "link.toml").symlink_to("a.toml")
    assert read_toml(tmp_path / "link.toml") == {"a": {"b": 1}}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a = " + b"[" * 50_000, "nested too deep"),
        (b"a = " + b"{a=" * 50_000, "nested too deep"),
        (b"a = " + b"1" * 5000, "a number that is too long"),
        (b"a = 1\na = 2", "it is not TOML"),
        (b"\xff", "it is not UTF-8"),
        (b"#" * 1001, "it has more than 1000 bytes"),
    ],
)
def test_content_that_is_none_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=reason):
        read_toml(path, 1000 if content.startswith(b"#") else 1 << 20)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "device"):
        with pytest.raises(ConfigurationError, match="not a regular file"):
            read_toml(path)
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(ConfigurationError, match="can not be read"):
        read_toml(tmp_path / "round")
    with pytest.raises(FileNotFoundError):
        read_toml(tmp_path / "nothing")
