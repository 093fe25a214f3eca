"""The folder of the models is watched for as long as the service runs, whatever happens to it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from service.background import background
from service.errors import OverloadedError
from service.processes.folder_watch import _folders, watching
from service.runtime.change import Change, ChangeReport

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def watched(root: Path) -> AsyncIterator[asyncio.Queue[Change]]:
    """Watch a folder at a test's pace, and hand out the changes that are asked for."""
    asked: asyncio.Queue[Change] = asyncio.Queue()

    async def change(one: Change) -> ChangeReport:
        asked.put_nowait(one)
        return ChangeReport()

    async with watching(root, change, quiet_ms=20, check_ms=50, retry_seconds=0.02):
        await noticed(asked, root)
        yield asked


async def noticed(asked: "asyncio.Queue[Change]", folder: Path) -> None:
    """Change a folder until that is noticed: a watch begins a little after its block."""

    async def touch() -> None:
        while True:
            await asyncio.to_thread((folder / "touched").write_bytes, b"x")

    async with background(touch()):
        assert await asked.get() == Change(kind="reload")
    while not asked.empty():
        asked.get_nowait()


async def test_a_folder_that_can_not_be_watched_is_read_until_it_can(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = Path(os.fsdecode(bytes(tmp_path) + b"/\xff"))
    with caplog.at_level(logging.INFO):
        async with watched(tmp_path) as asked:
            caplog.clear()
            await asyncio.to_thread(odd.mkdir)
            assert await asked.get() == Change(kind="reload")
            assert "can not be watched, and is read every 0.02 s" in caplog.text
            await noticed(asked, tmp_path)


async def test_a_change_that_can_not_be_done_now_is_tried_again(tmp_path: Path) -> None:
    asked: asyncio.Queue[Change] = asyncio.Queue()

    async def change(one: Change) -> ChangeReport:
        asked.put_nowait(one)
        raise OverloadedError("Another change runs.")

    async with watching(tmp_path, change, quiet_ms=20, check_ms=50):
        await noticed(asked, tmp_path)
        for _ in range(10):  # what was written by then is noticed at most twice more
            assert await asked.get() == Change(kind="reload")


async def test_another_folder_at_the_same_path_is_served_and_watched(tmp_path: Path) -> None:
    one, two, models, new = (tmp_path / name for name in ("one", "two", "models", "new"))
    for folder in (one, two):
        folder.mkdir()
    models.symlink_to(one)
    async with watched(models) as asked:
        new.symlink_to(two)
        await asyncio.to_thread(new.rename, models)
        assert await asked.get() == Change(kind="reload")
        await noticed(asked, two)


async def test_a_folder_that_goes_away_is_watched_again_when_it_is_back(tmp_path: Path) -> None:
    models, away = tmp_path / "models", tmp_path / "away"
    models.mkdir()
    async with watched(models) as asked:
        await asyncio.to_thread(models.rename, away)
        assert await asked.get() == Change(kind="reload")
        await asyncio.to_thread(away.rename, models)
        await noticed(asked, models)


async def test_folders_of_models_that_come_are_watched_and_none_below_them(tmp_path: Path) -> None:
    version = tmp_path / "model" / "1"
    async with watched(tmp_path) as asked:
        await asyncio.to_thread(version.mkdir, parents=True)
        assert await asked.get() == Change(kind="reload")
        await noticed(asked, version)
        assert set(_folders(tmp_path)) == {tmp_path, version.parent, version}
        (version / "data").symlink_to("/")
        (tmp_path / "loop").symlink_to(tmp_path)
        expected = {tmp_path / "loop", *(tmp_path / "loop" / name for name in ("model", "loop"))}
        assert set(_folders(tmp_path)) == {tmp_path, version.parent, version} | expected
