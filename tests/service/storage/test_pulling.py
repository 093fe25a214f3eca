"""`foveal pull`, and places whose package is not installed."""

import logging
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from service.cli import cli
from service.errors import ConfigurationError
from service.logs import LOGGER
from service.runtime.repository import scan_repository
from service.storage.file_system import open_remote
from service.storage.lock_file import read_lock
from service.storage.url import SCHEMES, StorageUrl
from tests.file_server import FileServer
from tests.servables import color_model, write_servable
from tests.service.storage.models import write_large
from tests.variants import write_variant


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the logger and the environment back as they were."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "")
    logger = logging.getLogger(LOGGER)
    before = logger.handlers, logger.level, logger.propagate
    yield
    logger.handlers, logger.level, logger.propagate = before


def pull(server: FileServer, models: Path, *wanted: str) -> Result:
    return CliRunner().invoke(cli, ["pull", *wanted, "--from", server.url, "--models", str(models)])


def versions(models: Path) -> list[str]:
    return [f"{one.name}:{one.version}" for one in scan_repository(models)[0]]


def test_the_newest_version_is_pulled_unless_one_is_named(
    server: FileServer, tmp_path: Path
) -> None:
    for version in (2, 9, 10):
        path = write_servable(server.root, version=version)
    write_servable(server.root, "other")
    models = tmp_path / "models"
    done = pull(server, models, "colors", "colors:2", "other")
    assert done.exit_code == 0, done.output
    assert versions(models) == ["colors:2", "colors:10", "other:1"]
    assert (models / "colors" / "10" / "model.onnx").read_bytes() == path.read_bytes()
    assert done.output.count("sha256:") == 3


def test_a_second_pull_fetches_nothing_and_replaces_nothing(
    server: FileServer, tmp_path: Path
) -> None:
    path = write_servable(server.root)
    models = tmp_path / "models"
    pull(server, models, "colors")
    again = pull(server, models, "colors:1")
    assert "already" in again.output
    assert len(server.fetched("model.onnx")) == 1
    before = (models / "colors" / "1" / "model.onnx").read_bytes()
    other = write_servable(tmp_path / "other", model=color_model(batch="M"))
    shutil.copy(other, path)
    refused = pull(server, models, "colors:1")
    assert isinstance(refused.exception, ConfigurationError)
    assert "never replaced" in str(refused.exception)
    assert (models / "colors" / "1" / "model.onnx").read_bytes() == before


def test_a_version_that_lies_here_from_elsewhere_is_compared_by_its_bytes(
    server: FileServer, tmp_path: Path
) -> None:
    path, models = write_servable(server.root), tmp_path / "models"
    shutil.copytree(server.root, models)
    same = pull(server, models, "colors")
    assert same.exit_code == 0, same.exception
    assert "already, with the digest sha256:" in same.output
    shutil.rmtree(models / ".incoming-pull")
    shutil.copy(write_servable(tmp_path / "other", model=color_model(batch="M")), path)
    refused = pull(server, models, "colors")
    assert isinstance(refused.exception, ConfigurationError)
    assert str(refused.exception).count("sha256:") == 2
    assert [one.name for one in (models / "colors" / "1").iterdir()] == ["model.onnx"]


def test_a_pull_that_found_nothing_leaves_no_folder_of_its_own(
    server: FileServer, tmp_path: Path
) -> None:
    write_servable(server.root)
    models = tmp_path / "new" / "models"
    assert pull(server, models, "nothing").exit_code == 1
    server.statuses["/colors/1/model.onnx"] = 503
    assert pull(server, models, "colors").exit_code == 1
    assert not models.parent.exists()
    models.mkdir(parents=True)
    assert pull(server, models, "colors").exit_code == 1
    assert list(models.iterdir()) == []
    server.statuses.clear()
    assert pull(server, models, "colors").exit_code == 0
    assert versions(models) == ["colors:1"]


def test_a_place_that_is_not_there_is_no_place_without_the_model(
    server: FileServer, tmp_path: Path
) -> None:
    server.root.rmdir()
    done = pull(server, tmp_path / "models", "colors")
    assert isinstance(done.exception, ConfigurationError)
    assert "There is nothing at http://" in str(done.exception)
    assert "--from" in str(done.exception)


@pytest.mark.parametrize("place", ["s3://no-such-bucket", "s3://bucket/no-such-folder"])
@pytest.mark.usefixtures("s3")
def test_a_bucket_or_folder_that_is_not_there_is_named(tmp_path: Path, place: str) -> None:
    done = CliRunner().invoke(
        cli, ["pull", "colors:1", "--from", place, "--models", str(tmp_path / "models")]
    )
    assert isinstance(done.exception, ConfigurationError)
    assert f"There is nothing at {place}." in str(done.exception)


def test_a_pull_that_broke_off_is_gone_on_with(server: FileServer, tmp_path: Path) -> None:
    write_large(server.root, 3_000_000)
    server.cuts["/colors/1/model.onnx"] = [2_000_000, 0, 0, 0, 0, 0]
    models = tmp_path / "models"
    assert pull(server, models, "colors").exit_code == 1
    assert versions(models) == []
    server.cuts.clear()
    assert pull(server, models, "colors").exit_code == 0
    assert versions(models) == ["colors:1"]
    assert int(server.fetched("model.onnx")[-1].removeprefix("bytes=").rstrip("-")) > 0


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        ("nothing", "has no nothing"),
        ("colors:7", "has no colors version 7"),
        ("colors@stable", "alias"),
        ("../colors", "can not name a model"),
        ("colors:x", "selects no model"),
    ],
)
def test_what_can_not_be_pulled_is_an_error(
    server: FileServer, tmp_path: Path, wanted: str, says: str
) -> None:
    write_servable(server.root)
    done = pull(server, tmp_path / "models", wanted)
    assert isinstance(done.exception, ConfigurationError)
    assert says in str(done.exception)
    assert list(tmp_path.glob("models/**/*")) == []


@pytest.mark.parametrize("taken", [".incoming-pull/pull.lock", "colors/1/model.onnx"])
def test_a_folder_that_can_not_be_used_is_an_error_of_one_line(
    server: FileServer, tmp_path: Path, taken: str
) -> None:
    write_servable(server.root)
    models = tmp_path / "models"
    (models / taken).mkdir(parents=True)
    done = pull(server, models, "colors")
    assert isinstance(done.exception, ConfigurationError)
    assert f"{models / taken} can not be used: Is a directory" in str(done.exception)


def test_models_that_are_no_folder_are_an_error_that_names_the_option(
    server: FileServer, tmp_path: Path
) -> None:
    write_servable(server.root)
    (tmp_path / "models").touch()
    done = pull(server, tmp_path / "models", "colors")
    assert isinstance(done.exception, ConfigurationError)
    assert "--models of foveal pull" in str(done.exception)


@pytest.mark.parametrize("room", [0, 100_000])
def test_a_disk_that_fills_leaves_no_version_and_no_part_of_one(
    server: FileServer, tmp_path: Path, room: int
) -> None:
    write_large(server.root, 500_000)
    models = tmp_path / "models"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        done = pull(server, models, "colors")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(done.exception, ConfigurationError)
    assert "has no room" in str(done.exception)
    assert "--models of foveal pull" in str(done.exception)
    assert not models.exists()


def test_a_lock_decides_what_is_pulled(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOVEAL_MODELS_CACHE", str(tmp_path / "cache"))
    path, lock = write_servable(server.root), tmp_path / "foveal.lock"
    done = CliRunner().invoke(cli, ["lock", "--models", server.url, "--lock", str(lock)])
    assert done.exit_code == 0, done.output
    assert [pin.source for pin in read_lock(lock).pins.values()] == [server.url]
    write_servable(server.root, version=2)
    monkeypatch.setenv("FOVEAL_MODELS_LOCK", str(lock))
    assert pull(server, tmp_path / "a", "colors").exit_code == 0
    assert versions(tmp_path / "a") == ["colors:1"]
    other = write_servable(tmp_path / "other", model=color_model(batch="M"))
    shutil.copy(other, path)
    refused = pull(server, tmp_path / "b", "colors")
    assert str(refused.exception).count("sha256:") >= 2
    assert versions(tmp_path / "b") == []


@pytest.mark.parametrize("damaged", [False, True])
def test_a_variant_that_can_not_be_used_is_named_by_pull_and_lock(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, damaged: bool
) -> None:
    monkeypatch.setenv("FOVEAL_MODELS_CACHE", str(tmp_path / "cache"))
    lock = tmp_path / "foveal.lock"
    variant = write_variant(write_servable(server.root), "int8", color_model())
    if damaged:
        variant.write_bytes(variant.read_bytes().replace(b"ReduceMean", b"ReduceMeam"))
    pulled = pull(server, tmp_path / "models", "colors")
    pinned = CliRunner().invoke(cli, ["lock", "--models", server.url, "--lock", str(lock)])
    assert pulled.exit_code == 0, pulled.output
    assert pinned.exit_code == damaged, pinned.output
    for output in (pulled.output, pinned.output):
        assert ("the variant in int8 can not be used" in output) == damaged
        assert ("int8.onnx: the graph was changed after it was proved" in output) == damaged
    assert (tmp_path / "models" / "colors" / "1" / "int8.onnx").read_bytes() == variant.read_bytes()
    assert set(read_lock(lock).pins["colors", 1].files) >= {"model.onnx", "int8.onnx"}


def test_a_place_to_pull_from_must_be_named(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["pull", "colors", "--models", str(tmp_path)])
    assert "--from" in str(done.exception)
    folder = str(tmp_path)
    done = CliRunner().invoke(cli, ["pull", "colors", "--from", folder, "--models", folder])
    assert "this is a folder, and --from names a URL" in str(done.exception)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_package_that_is_missing_is_named(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = SCHEMES[scheme][-1]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigurationError, match=rf"{package}.*pip install -e '\.\[remote\]'"):
        open_remote(StorageUrl(scheme, "place/folder"))


def test_the_hub_of_hugging_face_gets_no_telemetry() -> None:
    open_remote(StorageUrl("hf", "owner/name"))
    assert os.environ["HF_HUB_DISABLE_TELEMETRY"] == "1"
