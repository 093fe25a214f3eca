"""The lock file: what it pins, and what it refuses."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.storage.folder import FolderStorage
from service.storage.lock_file import digests_in, read_lock, version_digest
from service.storage.locking import lock_models
from tests.servables import color_model, write_servable


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Return the lock of a folder with `colors` 1."""
    write_servable(tmp_path / "models")
    lock_models(FolderStorage(tmp_path / "models"), tmp_path / "foveal.lock", [])
    return tmp_path / "foveal.lock"


def test_the_digest_is_what_sha256sum_gives(tmp_path: Path, locked: Path) -> None:
    folder = tmp_path / "models" / "colors" / "1"
    (folder / "reference.npy").write_bytes(b"frames")
    found = subprocess.run(
        ["sh", "-c", "sha256sum * | sha256sum"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    assert version_digest(digests_in(folder)) == f"sha256:{found.stdout.split()[0]}"
    (pin,) = read_lock(locked).pins.values()
    assert (pin.name, pin.version, pin.source) == ("colors", 1, str(tmp_path / "models"))


def test_what_is_not_as_it_was_pinned_is_refused(tmp_path: Path, locked: Path) -> None:
    models = tmp_path / "models"
    storage = FolderStorage(models, locked)
    assert len(storage.scan()[0]) == 1
    write_servable(models, version=2)
    write_servable(models, "other")
    path = models / "colors" / "1" / "model.onnx"
    path.write_bytes(write_servable(tmp_path / "b", model=color_model(batch="M")).read_bytes())
    servables, refusals = storage.scan()
    assert servables == ()
    reasons = {f"{one.name}:{one.path.parent.name}": one.reason for one in refusals}
    assert reasons["colors:1"].count("sha256:") == 4
    assert "is not pinned" in reasons["colors:2"]
    assert "is not pinned" in reasons["other:1"]


def test_a_file_beside_the_network_counts_too(tmp_path: Path, locked: Path) -> None:
    (tmp_path / "models" / "colors" / "1" / "int8.onnx").write_bytes(b"another network")
    _, (refusal,) = FolderStorage(tmp_path / "models", locked).scan()
    assert "int8.onnx is sha256:" in refusal.reason
    assert "instead of missing" in refusal.reason


def test_what_is_pinned_and_missing_is_said(tmp_path: Path, locked: Path) -> None:
    (tmp_path / "models" / "colors" / "1" / "model.onnx").unlink()
    _, (refusal,) = FolderStorage(tmp_path / "models", locked).scan()
    assert "does not have it" in refusal.reason


def doubled(text: str) -> str:
    head, model = text.split("[[models]]")
    return f"{head}[[models]]{model}[[models]]{model}"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("format = 1", "format = 2"), "format"),
        (lambda text: text.replace('name = "colors"', 'name = "../colors"'), "name"),
        (lambda text: text.replace("version = 1", "version = 0"), "version"),
        (lambda text: text.replace('"model.onnx" =', '"../model.onnx" ='), "no file of a version"),
        (lambda text: text.replace("sha256:", "md5:"), "digest"),
        (doubled, "twice"),
        (lambda _: "[[models", "TOML"),
        (lambda text: text + "more = 1", "more"),
    ],
)
def test_a_lock_that_contradicts_itself_is_refused(
    locked: Path, change: Callable[[str], str], says: str
) -> None:
    locked.write_text(change(locked.read_text()))
    with pytest.raises(ConfigurationError, match=says) as caught:
        read_lock(locked)
    assert str(locked) in str(caught.value)


def test_digests_that_do_not_fit_together_are_refused(locked: Path) -> None:
    text = locked.read_text()
    (pin,) = read_lock(locked).pins.values()
    locked.write_text(text.replace(pin.digest, f"sha256:{'0' * 64}"))
    with pytest.raises(ConfigurationError, match="its files give sha256:"):
        read_lock(locked)


def test_a_missing_lock_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="foveal lock"):
        read_lock(tmp_path / "foveal.lock")


def test_only_what_is_whole_is_pinned(tmp_path: Path) -> None:
    models = tmp_path / "models"
    write_servable(models)
    path = write_servable(models, "broken")
    path.write_bytes(path.read_bytes().replace(b"ReduceMean", b"ReduceMeam"))
    lock = tmp_path / "foveal.lock"
    (reason,) = lock_models(FolderStorage(models), lock, [])
    assert "changed after it was proved" in reason
    assert [name for name, _ in read_lock(lock).pins] == ["colors"]
    with pytest.raises(ConfigurationError, match="nothing that could be pinned"):
        lock_models(FolderStorage(models), lock, ["broken"])
    with pytest.raises(ConfigurationError, match="has no nothing"):
        lock_models(FolderStorage(models), lock, ["nothing"])
