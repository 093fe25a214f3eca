"""`foveal reload` against a small server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydantic_core import to_json
from rich.console import Console
from typer.testing import CliRunner

from service.cli import cli
from service.errors import ConfigurationError
from service.processes.reload import reload_models
from service.runtime.change import ChangeReport
from service.runtime.fleet import ModelPlan


@dataclass
class Told:
    """What the server is asked, and its address."""

    url: str
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def reload(self, key: str = "") -> tuple[int, str]:
        """Return the exit code and what is printed."""
        written = StringIO()
        code = reload_models(Console(file=written, width=200), self.url, key)
        return code, written.getvalue()


@contextmanager
def answering(content: bytes, status: int = 200) -> Iterator[Told]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.asked.append((self.path, self.headers["Authorization"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Write nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = Told(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def report(**given: Any) -> bytes:
    return to_json(ChangeReport(**given))


def test_what_came_of_it_is_printed() -> None:
    with answering(report(loaded=["colors:2", "other:1"], removed=["colors:1"])) as told:
        code, text = told.reload("secret")
        assert (code, text) == (0, "loaded: colors:2, other:1\nremoved: colors:1\n")
        assert told.asked == [("/v1/admin/reload", "Bearer secret")]


def test_what_was_refused_is_printed_as_it_is_and_fails() -> None:
    with answering(report(refused={"colors:3": "a card with [bold] words"})) as told:
        assert told.reload() == (1, "refused colors:3: a card with [bold] words\n")
        assert told.asked == [("/v1/admin/reload", None)]


def test_other_aliases_shares_shadows_and_defaults_are_printed() -> None:
    plan = ModelPlan(
        aliases={"stable": 2, "before": 1}, weights={"stable": 100}, shadow="before", ttl_seconds=60
    )
    plans = {"colors": plan, "other": ModelPlan()}
    defaults = {"classify": "colors@stable", "embed": ""}
    with answering(report(plans=plans, defaults=defaults)) as told:
        code, text = told.reload()
    assert code == 0
    assert text.splitlines() == [
        "colors: before is version 1, stable is version 2; shares stable 100 %; shadow before; asleep after 60 s",
        "other: no aliases; the newest version answers",
        "default of classify: colors@stable",
        "default of embed: none",
    ]


def test_that_nothing_has_changed_is_said() -> None:
    with answering(report()) as told:
        assert told.reload() == (0, "nothing has changed\n")


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b'{"detail": "Set FOVEAL_ADMIN=true."}', 403, r"answered 403: Set FOVEAL_ADMIN=true\."),
        (b"<html>", 502, "answered 502: Bad Gateway"),
        (b"<html>", 200, "does not answer as a Foveal service"),
        (b'{"loaded": 7}', 200, "does not answer as a Foveal service"),
    ],
)
def test_any_other_answer_is_an_error_with_its_reason(
    content: bytes, status: int, message: str
) -> None:
    with answering(content, status) as told, pytest.raises(ConfigurationError, match=message):
        told.reload()


def test_where_nothing_listens_the_address_is_named() -> None:
    with answering(b"") as told:
        pass
    with pytest.raises(ConfigurationError, match=f"Nothing listens at {told.url}. Start"):
        told.reload()


def test_other_addresses_than_of_http_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no URL; write http://HOST:PORT"):
        Told("file:///etc/passwd").reload()


def test_the_command_reads_the_key_from_a_file_or_the_input(tmp_path: Path) -> None:
    file = tmp_path / "key.txt"
    file.write_text("secret\n")
    with answering(report()) as told:
        for source, given in ((str(file), None), ("-", "typed\n")):
            arguments = ["reload", "--url", f"{told.url}/", "--key-file", source]
            assert CliRunner().invoke(cli, arguments, input=given).exit_code == 0
        assert told.asked == [
            ("/v1/admin/reload", "Bearer secret"),
            ("/v1/admin/reload", "Bearer typed"),
        ]


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.txt"
    done = CliRunner().invoke(cli, ["reload", "--key-file", str(missing)])
    assert isinstance(done.exception, ConfigurationError)
    assert str(done.exception) == f"{missing} can not be read: No such file or directory."
