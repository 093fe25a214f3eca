import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from service.cluster.connection import import_ray, require_answer
from service.errors import ConfigurationError


def run(program: str, *modules: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run a program before whose modules those of these folders come."""
    paths = ":".join(map(str, (*modules, Path.cwd())))
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_ray_that_is_not_installed_is_an_error_that_names_the_extra(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ModuleNotFoundError('no', name='ray')")
    ended = run("from service.cluster.connection import import_ray; import_ray()", tmp_path)
    assert ended.stderr.splitlines()[-1] == (
        "service.errors.ConfigurationError: Ray is not installed (ray is missing). In a clone: pip install -e '.[ray]'."
    )


def test_a_ray_that_does_not_start_is_an_error_of_one_line(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text(
        "def init(**_): raise Exception('The node timed out during startup.\\nMore of it.')\n"
        "def shutdown(): print('shut down')\n"
    )
    program = """
from service.cluster.connection import connected
with connected("local"):
    print("connected")
"""
    ended = run(program, tmp_path)
    assert ended.stdout == "shut down\n"
    assert ended.stderr.splitlines()[-1] == (
        "service.errors.ConfigurationError: There is no Ray on this machine: The node timed out during startup."
    )


@pytest.mark.timeout(120)
@pytest.mark.parametrize("mode", ["", "disabled"])
def test_a_ray_that_is_imported_already_shows_its_token_too(tmp_path: Path, mode: str) -> None:
    pytest.importorskip("ray", reason="needs Ray: foveal[ray]")
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("a" * 64)
    program = """
import os
os.environ.pop("RAY_AUTH_MODE", None)
if os.environ["MODE"]:
    os.environ["RAY_AUTH_MODE"] = os.environ["MODE"]
from ray._raylet import AuthenticationMode, get_authentication_mode
from service.cluster.connection import show_token
before = get_authentication_mode() == AuthenticationMode.TOKEN
show_token()
print(before, get_authentication_mode() == AuthenticationMode.TOKEN)
"""
    ended = run(program, HOME=str(tmp_path), MODE=mode)
    assert ended.stdout.split() == ["False", str(not mode)], ended.stderr


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


@contextmanager
def listening(answer: Callable[[socket.socket], object]) -> Iterator[str]:
    """Give the address of what accepts one connection, and then does that."""

    def serve() -> None:
        taken, _ = server.accept()
        with taken:
            answer(taken)
            with suppress(OSError):
                taken.recv(1 << 16)  # until the other side closes

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


def say(words: bytes) -> Callable[[socket.socket], object]:
    def answer(taken: socket.socket) -> None:
        taken.recv(1 << 16)
        taken.sendall(words)

    return answer


SETTINGS = b"\0\0\6\4\0\0\0\0\0" + b"\0\4\0\0\xff\xff"


def test_what_begins_as_grpc_may_be_ray() -> None:
    with listening(say(SETTINGS)) as address:
        require_answer(address)
    with listening(say(SETTINGS)) as address:
        require_answer(f"ray://{address}")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "something else listens there"),
        (say(b""), "does not answer"),
        (say(SETTINGS[:5]), "does not answer"),
        (lambda taken: taken.shutdown(socket.SHUT_RDWR), "no Ray at"),
    ],
    ids=["http", "silence", "a part", "an end"],
)
def test_what_listens_and_is_no_ray_is_refused(
    answer: Callable[[socket.socket], object], words: str
) -> None:
    with listening(answer) as address, pytest.raises(ConfigurationError, match=words):
        require_answer(address, seconds=0.5)


def test_the_address_of_the_environment_is_what_auto_stands_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray", reason="needs Ray: foveal[ray]")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConfigurationError, match=f"There is no Ray at {address}"):
            require_answer("auto")
