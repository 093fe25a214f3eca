"""The commands that end by themselves; `foveal serve` is started as a process in tests/e2e."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import cli, main
from service.commands.group import PLACES
from service.errors import ConfigurationError
from service.keys import KeyRing
from service.planning.profile import write_profile
from service.runtime.device import DEVICES
from tests.servables import color_model, write_servable
from tests.service.planning.profiles import make_profile


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def write_refused(root: Path) -> None:
    """Put a file without a card into a repository."""
    path = root / "found" / "1" / "model.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(color_model().SerializeToString())


def test_without_a_command_the_commands_are_listed() -> None:
    text = run().output
    assert all(command in text for command in ("serve", "models", "plan", "warm", "doctor"))


def test_a_command_with_a_slip_in_its_name_is_suggested() -> None:
    result = run("serv")
    assert result.exit_code == 2
    assert "Did you mean 'serve'?" in result.output


@pytest.mark.parametrize("name", PLACES)
def test_every_command_that_is_listed_has_a_page_of_help(name: str) -> None:
    result = run(name, "--help")
    assert result.exit_code == 0, result.output
    assert f" {name} [OPTIONS]" in result.output


def test_a_command_runs_where_its_streams_were_closed(repository: Path) -> None:
    """As a supervisor may start it: nothing that is opened gets their descriptors, and no log line fails."""
    code = (
        "import os, sys; from service.commands.streams import open_closed_streams; open_closed_streams();"
        "print('lost'); sys.stderr.write('lost'); assert sys.stdin.read() == '';"
        f"sys.exit(os.open({str(repository)!r}, os.O_RDONLY))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(["sh", "-c", '"$@" <&- >&- 2>&-', "sh", *command], check=False)
    assert done.returncode > 2


def test_to_serve_imports_nothing_of_the_other_commands() -> None:
    program = (
        "import sys; from service.cli import cli; cli(['serve', '--help'], standalone_mode=False); "
    )
    program += "print(*[name for name in sys.modules if name.startswith('service.bulk')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.endswith(b"\n\n"), done.stdout[-200:]


def test_the_help_names_every_device() -> None:
    text = run("serve", "--help").output
    assert all(device in text for device in ("auto", *DEVICES))


def test_models_are_listed_one_a_line(repository: Path) -> None:
    write_servable(repository, "other")
    result = run("models", "--models", str(repository))
    assert result.exit_code == 0
    rows = [line for line in result.output.splitlines() if "classify" in line]
    assert len(rows) == 2


def test_models_list_what_is_refused_and_succeed(repository: Path) -> None:
    write_refused(repository)
    result = run("models", "--models", str(repository))
    assert result.exit_code == 0
    assert "carries no card" in result.output


def test_doctor_fails_with_a_model_that_can_not_be_served(repository: Path) -> None:
    options = ("--models", str(repository), "--device", "cpu")
    assert run("doctor", *options).exit_code == 0
    write_refused(repository)
    assert run("doctor", *options).exit_code == 1


def test_doctor_fails_where_the_device_does_not_work(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_DEVICE_ID", "99")
    result = run("doctor", "--models", str(repository), "--device", "tensorrt")
    assert result.exit_code == 1
    assert "runs on" not in result.output


def test_warm_loads_every_model_and_says_where(repository: Path) -> None:
    result = run("warm", "--models", str(repository), "--device", "cpu")
    assert result.exit_code == 0
    assert "✓ colors version 1 on cpu" in result.output


def test_warm_fails_with_the_models_that_can_not_be_loaded(repository: Path) -> None:
    write_refused(repository)
    result = run("warm", "--models", str(repository), "--device", "cpu")
    assert result.exit_code == 1
    assert "✓ colors version 1 on cpu" in result.output
    assert "carries no card" in result.output


def test_what_the_operator_can_mend_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = str(tmp_path / "nowhere")
    monkeypatch.setattr("sys.argv", ["foveal", "models", "--models", missing])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    text = capsys.readouterr().err
    assert text.startswith("foveal: There is no folder")
    assert "Traceback" not in text


def test_a_new_key_is_printed_once_and_its_entry_is_found_by_the_service(tmp_path: Path) -> None:
    result = run("key", "new", "ada", "--scope", "infer", "--scope", "metrics")
    assert result.exit_code == 0
    (key,) = re.findall(r"foveal_\S+", result.output)
    path = tmp_path / "keys.toml"
    path.write_text(result.output[result.output.index("[") :])
    assert key not in path.read_text()
    found = KeyRing(path).find(key.encode())
    assert found is not None
    assert (found.name, set(found.scopes)) == ("ada", {"infer", "metrics"})
    assert key not in run("key", "new", "ada").output


def test_keys_are_added_to_a_file_and_printed_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.touch()
    path.chmod(0o640)
    made = {name: run("key", "new", name, "--keys", str(path)) for name in ("ada", "bob")}
    ring = KeyRing(path)
    for name, result in made.items():
        found = ring.find(result.output.rstrip("\n").encode())
        assert found is not None
        assert found.name == name
    assert path.stat().st_mode & 0o777 == 0o640
    before = path.read_text()
    again = run("key", "new", "ada", "--keys", str(path))
    assert isinstance(again.exception, ConfigurationError)
    assert "ada" in str(again.exception)
    assert "foveal_" not in again.output
    assert path.read_text() == before
    assert isinstance(
        run("key", "new", "ada", "--keys", str(tmp_path / "no" / "keys.toml")).exception,
        ConfigurationError,
    )


@pytest.mark.parametrize("arguments", [("a b",), ("ada", "--scope", "all")])
def test_a_key_with_no_such_name_or_scope_is_not_made(arguments: tuple[str, ...]) -> None:
    result = run("key", "new", *arguments)
    assert isinstance(result.exception, ConfigurationError)
    assert "foveal_" not in result.output


@pytest.fixture
def measured(tmp_path: Path) -> Path:
    file = tmp_path / "measured.json"
    write_profile(make_profile(full_load=100.0), file)
    return file


def test_a_plan_says_how_many_machines_it_takes(measured: Path, tmp_path: Path) -> None:
    options = ("--rps", "50", "--p99", "60", "--measured", str(measured))
    result = run("plan", *options, "--save", str(tmp_path / "again.json"))
    assert result.exit_code == 0
    assert "1 machine for 50 requests a second, 99 % within 60 ms" in result.stdout
    assert "measured on another machine" in " ".join(result.stdout.split())
    assert (tmp_path / "again.json").read_text() == measured.read_text()


def test_a_plan_is_printed_as_json(measured: Path) -> None:
    result = run("plan", "--rps", "50", "--p99", "60", "--measured", str(measured), "--json")
    printed = json.loads(result.stdout)
    assert printed["machines"] == 1
    assert printed["target"] == {"requests_per_second": 50, "p99_ms": 60}
    # M/D/1 at a load of one half: 10 ms, and half as much again of waiting on average.
    assert 9.99 < printed["p50_ms"] < printed["p99_ms"] <= 60
    assert printed["measurement"]["model"] == "colors"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rps", "-1"), "--rps -1: give the requests a second"),
        (("--p99", "0"), "--p99 0: give milliseconds"),
        (("--p99", "9.5"), "99 % within 9.5 ms is not possible"),
        (("--model", "shades"), "was measured with the model colors:1, not shades"),
        (("--device", "cuda"), "was measured with the device cpu, not cuda"),
        (("--image", "32x32"), "was measured with the image 640×480 JPEG, not 32×32 JPEG"),
        (("--workers", "3"), "was measured with the workers 1, not 3"),
        (("--measured", "none.json"), "none.json can not be read"),
        (("--save", "none/none.json"), "can not be written to none/none.json"),
    ],
)
def test_a_plan_that_can_not_be_made_says_why(
    measured: Path, options: tuple[str, ...], message: str
) -> None:
    given = ("--rps", "50", "--p99", "60", "--measured", str(measured), *options)
    result = run("plan", *given)
    assert isinstance(result.exception, ConfigurationError)
    assert message in str(result.exception)


def test_a_compiled_file_that_is_cut_short_is_named_as_what_it_is(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service.cli", "key", "--help"]
    environment = {
        **os.environ,
        "PYTHONPYCACHEPREFIX": str(tmp_path),
        "PYTHONDONTWRITEBYTECODE": "",
    }
    subprocess.run(command, env=environment, check=True, capture_output=True)
    (compiled,) = tmp_path.rglob("commands/keys.*.pyc")
    with compiled.open("r+b") as file:
        file.truncate(100)
    found = subprocess.run(command, env=environment, check=False, capture_output=True, text=True)
    assert found.returncode == 1
    assert "it is one of compiled Python" in found.stderr
    assert "Aborted" not in found.stderr
