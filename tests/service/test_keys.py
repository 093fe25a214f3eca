"""Keys at rest: what the file may say, and that it is read again when it changes."""

import hashlib
import hmac
import inspect
import os
import subprocess
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.keys import (
    CHECK_SECONDS,
    LONGEST_KEY,
    KeyRing,
    add_entry,
    as_entry,
    new_key,
    read_keys,
)
from tests.full_disk import small_files
from tests.full_table import no_free_descriptor

ADA, BOB = "foveal_ada", "foveal_bob"


def sha256(text: str) -> str:
    """The hash by coreutils, which share no code with us."""
    return subprocess.run(
        ["sha256sum"], input=text, capture_output=True, text=True, check=True
    ).stdout.split()[0]


def entry(name: str, key: str, scopes: str = '"infer"') -> str:
    return f'[{name}]\nsha256 = "{sha256(key)}"\nscopes = [{scopes}]\n'


class Clock:
    """Stands still until the test moves it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def pass_by(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def replace(path: Path, text: str) -> None:
    """Put another file in its place, as an editor or Kubernetes does."""
    draft = path.with_suffix(".draft")
    draft.write_text(text)
    draft.replace(path)


def test_a_key_is_found_by_its_hash_and_no_other_is(path: Path) -> None:
    path.write_text(entry("ada", ADA) + entry("bob", BOB, '"explain", "metrics"'))
    ring = KeyRing(path)
    ada, bob = ring.find(ADA.encode()), ring.find(BOB.encode())
    assert ada is not None
    assert bob is not None
    assert (ada.name, set(ada.scopes)) == ("ada", {"infer"})
    assert (bob.name, set(bob.scopes)) == ("bob", {"explain", "metrics"})
    for wrong in ("", "foveal_", ADA[:-1], ADA + "x", ADA.upper(), sha256(ADA)):
        assert ring.find(wrong.encode()) is None, wrong


def test_hashes_are_compared_in_constant_time_and_all_of_them_whichever_is_right(
    path: Path,
) -> None:
    assert inspect.signature(KeyRing).parameters["same"].default is hmac.compare_digest
    path.write_text(entry("ada", ADA) + entry("bob", BOB))
    hashes = {bytes.fromhex(sha256(key)) for key in (ADA, BOB)}
    for presented in (ADA, BOB, "foveal_eve"):
        compared: list[tuple[bytes, bytes]] = []

        def same(one: bytes, other: bytes, seen: list[tuple[bytes, bytes]] = compared) -> bool:
            seen.append((one, other))
            return one == other

        KeyRing(path, same=same).find(presented.encode())
        assert {one for one, _ in compared} == hashes
        assert {other for _, other in compared} == {bytes.fromhex(sha256(presented))}


def test_a_key_that_is_too_long_is_none_whatever_its_hash(path: Path) -> None:
    longest, longer = "x" * LONGEST_KEY, "x" * (LONGEST_KEY + 1)
    path.write_text(entry("longest", longest) + entry("longer", longer))
    ring = KeyRing(path)
    assert ring.find(longest.encode()) is not None
    assert ring.find(longer.encode()) is None


def test_a_changed_file_counts_within_a_second_and_not_at_every_request(path: Path) -> None:
    clock = Clock()
    path.write_text(entry("ada", ADA))
    ring = KeyRing(path, clock)
    replace(path, entry("bob", BOB))
    assert ring.find(ADA.encode()) is not None
    clock.pass_by(CHECK_SECONDS)
    assert ring.find(ADA.encode()) is None
    assert ring.find(BOB.encode()) is not None


def test_a_file_that_is_written_in_place_counts_too(path: Path) -> None:
    clock = Clock()
    path.write_text(entry("ada", ADA))
    ring = KeyRing(path, clock)
    path.write_text(entry("bob", BOB))
    os.utime(path, ns=(1, 1))  # a clock that jumped back
    clock.pass_by(CHECK_SECONDS)
    assert ring.find(BOB.encode()) is not None


@pytest.mark.parametrize("broken", ["", "no = toml = at all", None])
def test_a_changed_file_that_can_not_be_used_leaves_the_keys_as_they_were(
    path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    path.write_text(entry("ada", ADA))
    ring = KeyRing(path, clock)
    if broken is None:
        path.unlink()
    else:
        replace(path, broken)
    for _ in range(3):
        clock.pass_by(CHECK_SECONDS)
        assert ring.find(ADA.encode()) is not None
    assert len([one for one in caplog.records if "stay valid" in one.getMessage()]) == 1
    replace(path, entry("bob", BOB))
    clock.pass_by(CHECK_SECONDS)
    assert ring.find(ADA.encode()) is None
    assert ring.find(BOB.encode()) is not None


def test_a_key_that_is_removed_while_no_file_can_be_opened_is_refused_soon_after(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    path.write_text(entry("ada", ADA))
    ring = KeyRing(path, clock)
    replace(path, entry("bob", BOB))
    for _ in range(3):
        clock.pass_by(CHECK_SECONDS)
        with no_free_descriptor():
            assert ring.find(ADA.encode()) is not None
    assert len([one for one in caplog.records if "stay valid" in one.getMessage()]) == 1
    clock.pass_by(CHECK_SECONDS)
    assert ring.find(ADA.encode()) is None
    assert ring.find(BOB.encode()) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("[ada", "is not TOML"),
        ('ada = "foveal_ada"', "must have `sha256` and `scopes`"),
        ('[ada]\nsha256 = "00"\n', "must have `sha256` and `scopes`"),
        (entry("ada", ADA) + "owner = 1\n", "and nothing else"),
        ('[ada]\nsha256 = "foveal_ada"\nscopes = ["infer"]', "not the key"),
        (f'[ada]\nsha256 = "{"A" * 64}"\nscopes = ["infer"]', "lower case"),
        ('[ada]\nsha256 = 5\nscopes = ["infer"]', "hexadecimal"),
        (entry("ada", ADA, ""), "one or more of infer, explain, admin, metrics"),
        (entry("ada", ADA, '"all"'), "one or more of"),
        (entry("ada", ADA, '["infer"]'), "one or more of"),
        (f'[ada]\nsha256 = "{"0" * 64}"\nscopes = "infer"', "one or more of"),
        (entry('"a b"', ADA), "can not be the name of a key"),
        (entry(f'"{"a" * 65}"', ADA), "can not be the name of a key"),
    ],
)
def test_a_file_that_says_something_else_is_refused_with_the_reason(
    path: Path, text: str, message: str
) -> None:
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"keys\.toml") as refused:
        read_keys(path)
    assert message in str(refused.value)


def test_what_is_no_file_is_refused_and_never_waited_for(path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no such file"):
        read_keys(path)
    os.mkfifo(path)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_keys(path)
    with pytest.raises(ConfigurationError, match="not a regular file"):
        read_keys(path.parent)


def test_a_huge_file_and_bytes_that_are_no_text_are_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8"):
        read_keys(path)
    path.write_bytes(b"#" * (2**20 + 1))
    with pytest.raises(ConfigurationError, match="has more than"):
        read_keys(path)


def test_new_keys_are_all_different_and_their_entries_do_not_hold_them(path: Path) -> None:
    keys = [new_key() for _ in range(100)]
    assert len(set(keys)) == 100
    assert all(len(key) >= len("foveal_") + 43 for key in keys)  # 256 bits in base64
    path.write_text("".join(as_entry(f"key-{n}", key, ["infer"]) for n, key in enumerate(keys)))
    assert all(key.removeprefix("foveal_") not in path.read_text() for key in keys)
    found = read_keys(path)
    assert [one.digest for one in found] == [hashlib.sha256(key.encode()).digest() for key in keys]


def test_a_full_disk_keeps_the_keys_that_were_there(path: Path) -> None:
    before = "".join(entry(f"user{number}", f"foveal_{number}") for number in range(9))
    path.write_text(before)
    with small_files(), pytest.raises(ConfigurationError, match=r"can not be written .*too large"):
        add_entry(path, "ada", as_entry("ada", ADA, ["infer"]))
    assert path.read_text() == before
    assert list(path.parent.iterdir()) == [path]
