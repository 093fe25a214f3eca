import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.cluster.command_line import require_usable
from service.errors import ConfigurationError

click = pytest.importorskip("click", reason="needs Ray: pip install -e '.[ray]'")
constants = pytest.importorskip("ray.serve._private.constants", reason="needs Ray: foveal[ray]")


@contextmanager
def command(name: str, address: str | None) -> Iterator[None]:
    with click.Context(click.Command(name), info_name=name) as context:
        context.params = {"address": address}
        yield


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that nobody else can have, and where nobody answers."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


def test_an_address_without_ray_is_refused_at_once(taken: str) -> None:
    with command("run", taken), pytest.raises(ConfigurationError, match="There is no Ray at"):
        require_usable(connected=False)


def test_an_address_of_the_environment_counts_too(
    taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", taken)
    with (
        command("run", None),
        pytest.raises(ConfigurationError, match=f"There is no Ray at {taken}"),
    ):
        require_usable(connected=False)


def test_a_port_that_is_taken_is_refused(taken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(constants, "DEFAULT_HTTP_PORT", int(taken.split(":")[1]))
    with command("run", None), pytest.raises(ConfigurationError, match="is taken"):
        require_usable(connected=False)


def test_another_command_and_a_cluster_that_is_connected_are_left_alone(taken: str) -> None:
    require_usable(connected=False)
    with command("build", taken):
        require_usable(connected=False)
    with command("run", taken):
        require_usable(connected=True)


def test_it_shows_its_token_to_the_cluster(
    tmp_path: Path, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setenv("RAY_AUTH_MODE", "")
    monkeypatch.delenv("RAY_AUTH_MODE")
    raylet = pytest.importorskip("ray._raylet")
    try:
        with command("run", taken), pytest.raises(ConfigurationError):
            require_usable(connected=False)
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert raylet.get_authentication_mode() == raylet.AuthenticationMode.TOKEN
    finally:
        monkeypatch.undo()
        raylet.Config.initialize("")
