"""What all tests share: asyncio, and a repository of one tiny model."""

import ctypes
import sys
from pathlib import Path

import pytest

from tests.servables import write_servable


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


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model repository with one servable, `colors`."""
    root = tmp_path / "models"
    write_servable(root)
    return root
