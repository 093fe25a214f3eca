"""promtool, Prometheus's own checker, for the tests beside this one."""

import shutil
import subprocess
from pathlib import Path

import pytest

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool (apt-get install prometheus)"
)


def promtool(*arguments: str | Path) -> str:
    """Return what promtool finds wrong, empty when all is well."""
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""
