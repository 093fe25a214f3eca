import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from service.cluster.connection import import_ray, require_answer
from service.errors import ConfigurationError


def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('no', name='ray')")
    program = "from service.cluster.connection import import_ray; import_ray()"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{Path.cwd()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr.splitlines()[-1] == (
        "service.errors.ConfigurationError: Ray is not installed (ray is missing): pip install 'foveal[ray]'."
    )


def test_ray_reports_nothing_about_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = pytest.importorskip("ray._common.usage.usage_lib", reason="needs Ray: foveal[ray]")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_USAGE_STATS_REPORT_URL", "https://example.com")
    import_ray()
    assert not usage.usage_stats_enabled()
    assert not usage._usage_stats_report_url()  # noqa: SLF001  # there is no other way to see it


def test_an_address_where_nothing_listens_is_an_error_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=f"There is no Ray at {address}: .*refused"):
            require_answer(address)


@pytest.mark.parametrize("address", ["", ":6379", "host:port", "http://127.0.0.1:80", "ray://"])
def test_what_is_no_address_of_ray_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="is no address of Ray"):
        require_answer(address)
