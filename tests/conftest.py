"""What all tests share: asyncio, a limit of time by their kind, and a repository of one tiny model."""

import ctypes
import gc
import inspect
import logging
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest

from tests.file_order import in_order
from tests.servables import write_servable

TESTS = Path(__file__).parent

os.environ.pop(
    "COLUMNS", None
)  # of pytest-xdist; a console reads its width from there when it is made

# A shell has its jobs in the background ignore Ctrl+C, and so would every service that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# One example in 200 ms, Hypothesis' own limit, is not to be had on a busy machine; a test has its limit as a whole.
hypothesis.settings.register_profile("foveal", deadline=None)
hypothesis.settings.load_profile("foveal")

# Nor is an answer within 5 s, which all of httpx gives up after, unless a test says otherwise.
CLIENT_LIMITS: httpx.Timeout = inspect.signature(httpx.request).parameters["timeout"].default
CLIENT_LIMITS.connect = CLIENT_LIMITS.read = CLIENT_LIMITS.write = CLIENT_LIMITS.pool = 30.0

LIMITS = {"e2e": 180, "playground": 180, "docker": 180, "exporter": 360}
"""Seconds that a test may take, by its folder: real processes and browsers, and networks that PyTorch makes, trains and
exports. The limit of all others, whose fault would be to hang, is in pyproject.toml. A test may state its own.

Each leaves room for a busy machine: what takes long is found by `--durations`."""


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[Any]:
    """Collect no garbage while tests are collected, and leave what is there then out of every later collection.

    The modules and the tests themselves, more than a million objects, stay until the end. Each full collection, which
    PyTorch's exporter and some tests ask for, would go through all of them: half a second each time.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(
    config: pytest.Config, log: Any
) -> Any:  # pytest-xdist has few types
    """Let the files that start a Ray cluster run one after the other."""
    if config.getvalue("dist") != "loadfile":
        return None
    from tests.in_turn import InTurn  # noqa: PLC0415  # there is no pytest-xdist where one process runs all

    return InTurn(config, log)


CRASHED = pytest.StashKey[bool]()


@pytest.hookimpl(optionalhook=True)
def pytest_handlecrashitem(sched: Any) -> None:  # pytest-xdist has no types
    """Note that a test has ended its process."""
    sched.config.stash[CRASHED] = True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """End with another status than failed tests do, which `make tests` would run once more."""
    if session.config.stash.get(CRASHED, False):
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Leave out of every later collection also what is there at the end of a file: a million objects of PyTorch's."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def limit_of(path: Path) -> int:
    """Return the seconds that the folder of a test allows; 0 where it has no limit of its own."""
    return LIMITS.get(path.relative_to(TESTS).parts[0], 0)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test the limit of its kind, unless it states its own or the command line gives a longer one."""
    limits = {item.path: limit_of(item.path) for item in items}
    ordered = in_order((path.relative_to(TESTS), limit) for path, limit in limits.items())
    places = {TESTS / path: place for place, path in enumerate(ordered)}
    items.sort(key=lambda item: places[item.path])
    given = float(config.getoption("timeout", None) or 0)
    for item in items:
        limit = limits[item.path]
        if limit > given and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(limit))


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """Give the URL of a server of S3."""
    from tests.buckets import moto_server  # noqa: PLC0415  # it takes a second, and few tests need it

    with moto_server() as url:
        yield url


@pytest.fixture
def s3(moto: str, monkeypatch: pytest.MonkeyPatch) -> Any:  # boto3 has no types
    """Return a client of an empty S3 with the bucket `bucket`; see `tests.buckets`."""
    from tests.buckets import empty_bucket  # noqa: PLC0415  # see above

    return empty_bucket(moto, monkeypatch)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def denormals() -> None:
    """Begin with usual arithmetic: ONNX Runtime leaves denormals off in a thread that ran such a session.

    Hypothesis draws denormal numbers, and refuses to work where there are none.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).fesetenv(ctypes.c_void_p(-1))  # FE_DFL_ENV of glibc's and musl's fenv.h


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Restore the loggers that a test has configured, or later tests would see none of their lines."""
    found = [logging.getLogger(name) for name in ("foveal", "uvicorn.error", "PIL")]
    before = [(one.handlers, one.level, one.propagate) for one in found]
    yield
    for one, (handlers, level, propagate) in zip(found, before, strict=True):
        one.handlers, one.propagate = handlers, propagate
        one.setLevel(level)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with one servable, `colors`."""
    root = tmp_path / "models"
    write_servable(root)
    return root
