"""What a killed export leaves is removed by the next one, and what a living one works on is not."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from exporter.drafts import PREFIX, sweep, write_draft
from exporter.writing import graph_digest, next_version, write_servable
from tests.servables import color_card, color_model

CLAIM = "recipe.toml"

BEGIN = """
import sys
from contextlib import ExitStack
from pathlib import Path
from exporter.drafts import claim, write_draft

folder = Path(sys.argv[1])
with ExitStack() as held, ExitStack() as undo:
"""
DRAFTED = '    write_draft(folder, lambda file: file.write(b"half"), undo, held)'
CLAIMED = '    claim(folder / "recipe.toml", undo, held)'
END = """
    print("written", flush=True)
    sys.stdin.read()
"""


def working(folder: Path, does: str = DRAFTED) -> subprocess.Popen[str]:
    """Start a process that has written a draft, or claimed a folder, and goes on."""
    words = [sys.executable, "-c", BEGIN + does + END, str(folder)]
    process = subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    return process


def drafts(folder: Path) -> list[Path]:
    return list(folder.glob(f"{PREFIX}*"))


def write(path: Path) -> None:
    model = color_model()
    write_servable(path, model, color_card(digest=graph_digest(model)), "text")


def test_the_next_export_removes_what_a_killed_one_has_left(tmp_path: Path) -> None:
    model = tmp_path / "colors"
    write(next_version(model))
    killed = next_version(model).parent
    killed.mkdir()
    (killed / CLAIM).touch()
    with working(killed) as process, working(model / "1") as other:
        write(next_version(model))
        assert len(drafts(killed)) == len(drafts(model / "1")) == 1
        process.kill()
        other.kill()
    assert len(drafts(killed)) == 1

    write(next_version(model))

    assert sorted(one.name for one in model.iterdir()) == ["1", "3", "4"]
    for version in model.iterdir():
        assert sorted(one.name for one in version.iterdir()) == ["model.onnx", CLAIM]


@pytest.mark.parametrize("left", ["model.onnx", "notes.txt", CLAIM])
def test_a_folder_with_anything_of_use_stays(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("of use")
    (tmp_path / f"{PREFIX}abc").write_text("half")

    sweep(tmp_path, CLAIM)

    assert [one.name for one in tmp_path.iterdir()] == [left]


def test_a_version_that_a_killed_export_has_only_claimed_is_removed(tmp_path: Path) -> None:
    model = tmp_path / "colors"
    claimed = next_version(model).parent
    claimed.mkdir(parents=True)
    with working(claimed, CLAIMED) as process:
        os.utime(claimed / CLAIM, (0, 0))
        write(next_version(model))
        assert (claimed / CLAIM).exists()
        process.kill()

    write(next_version(model))

    assert sorted(one.name for one in model.iterdir()) == ["2", "3"]


def test_what_was_claimed_just_now_stays(tmp_path: Path) -> None:
    """Its process may not have its lock yet."""
    (tmp_path / CLAIM).touch()
    sweep(tmp_path, CLAIM)
    assert (tmp_path / CLAIM).exists()


def test_an_empty_folder_stays_until_it_is_old(tmp_path: Path) -> None:
    version = tmp_path / "1"
    version.mkdir()
    sweep(version, CLAIM)
    assert version.exists()

    os.utime(version, (0, 0))
    sweep(version, CLAIM)
    assert not version.exists()


def test_an_empty_draft_stays_until_it_is_old(tmp_path: Path) -> None:
    """It has no lock yet, for a moment."""
    draft = tmp_path / f"{PREFIX}abc"
    draft.touch()
    sweep(tmp_path, CLAIM)
    assert draft.exists()

    os.utime(draft, (0, 0))
    sweep(tmp_path, CLAIM)
    assert not draft.exists()


def test_drafts_and_sweeps_at_once_lose_no_draft(tmp_path: Path) -> None:
    (tmp_path / "stays").touch()

    def draft(index: int) -> bytes:
        with ExitStack() as held, ExitStack() as undo:
            path, _ = write_draft(tmp_path, lambda file: file.write(b"%d" % index), undo, held)
            return path.read_bytes()

    with ThreadPoolExecutor(8) as pool:
        sweeps = [pool.submit(sweep, tmp_path, CLAIM) for _ in range(200)]
        found = list(pool.map(draft, range(100)))
        for one in sweeps:
            one.result()

    assert found == [b"%d" % index for index in range(100)]
    assert not drafts(tmp_path)
