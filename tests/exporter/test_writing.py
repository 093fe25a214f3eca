"""A servable is written whole or not at all."""

import resource
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier

import onnx
import pytest

from exporter.errors import WriteError
from exporter.writing import (
    graph_digest,
    next_version,
    require_writable,
    write_file,
    write_servable,
)
from service.servable_file import check_certificate, graph_sha256, read_card
from tests.servables import color_card, color_model


def test_the_digest_is_that_of_the_written_file_with_functions_too(tmp_path: Path) -> None:
    model = color_model()
    node = onnx.helper.make_node("Neg", ["x"], ["y"])
    opset = [onnx.helper.make_opsetid("", 17)]
    plain = graph_digest(model)
    for name in ("Nothing", "Twice"):
        model.functions.append(onnx.helper.make_function("own", name, ["x"], ["y"], [node], opset))
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    assert graph_digest(model) == graph_sha256(path, 2) != plain


def test_the_digest_is_the_one_the_service_reads(tmp_path: Path) -> None:
    model = color_model()
    path = tmp_path / "colors/1/model.onnx"

    write_servable(path, model, color_card(digest=graph_digest(model)))

    assert graph_sha256(path, 2) == graph_digest(model)
    assert graph_sha256(path) == graph_digest(model, digest=1)
    check_certificate(path, read_card(path))


def test_a_card_of_another_graph_is_never_put_in_place(tmp_path: Path) -> None:
    path = tmp_path / "1/model.onnx"
    with pytest.raises(ValueError, match="changed after it was proved"):
        write_servable(path, color_model(), color_card())
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "1").write_text("a file where the folder goes")
    model = color_model()
    with pytest.raises(WriteError, match=r"model\.onnx can not be written"):
        write_servable(tmp_path / "1/model.onnx", model, color_card(digest=graph_digest(model)))


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse every write beyond this size of a file, in bytes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("text", [None, "x" * 200_000])
def test_a_write_that_fails_leaves_no_file_and_no_folder(tmp_path: Path, text: str | None) -> None:
    model = color_model()
    card = color_card(digest=graph_digest(model))
    limit = 100 if text is None else 100_000  # the model does not fit, or the recipe after it
    with (
        files_up_to(limit),
        pytest.raises(WriteError, match=r"1/model\.onnx can not be written: .*Nothing was written"),
    ):
        write_servable(tmp_path / "models/net/1/model.onnx", model, card, text)
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "net/1/model.onnx"
    path.parent.mkdir(parents=True)
    path.write_text("the model before")
    model = color_model()
    with files_up_to(100), pytest.raises(WriteError):
        write_servable(path, model, color_card(digest=graph_digest(model)))
    assert [one.name for one in path.parent.iterdir()] == ["model.onnx"]
    assert path.read_text() == "the model before"


def test_a_file_beside_a_servable_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "reference.npy"
    write_file(path, b"first")
    with files_up_to(100), pytest.raises(WriteError, match=r"reference\.npy can not be written: "):
        write_file(path, bytes(1000))
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(path.name, b"first")]


def test_model_and_recipe_are_written_together(tmp_path: Path) -> None:
    model = color_model()
    card = color_card(digest=graph_digest(model))
    path = tmp_path / "net/1/model.onnx"
    write_servable(path, model, card, "source = 1\n")
    assert path.with_name("recipe.toml").read_text() == "source = 1\n"
    with pytest.raises(WriteError, match="another export wrote this version"):
        write_servable(path, model, card, "source = 2\n")
    assert path.with_name("recipe.toml").read_text() == "source = 1\n"


def test_of_two_exports_at_once_one_writes_the_version_and_the_other_nothing(
    tmp_path: Path,
) -> None:
    ready = Barrier(2)

    def write(path: Path, text: str) -> str | None:
        model = color_model()
        card = color_card(digest=graph_digest(model))
        ready.wait(timeout=30)
        try:
            write_servable(path, model, card, text)
        except WriteError as error:
            assert "another export wrote this version" in str(error)
            return None
        return text

    for version in range(1, 31):
        path = tmp_path / "net" / str(version) / "model.onnx"
        with ThreadPoolExecutor(2) as pool:
            both = list(pool.map(partial(write, path), ("source = 1\n", "source = 2\n")))
        (written,) = [one for one in both if one is not None]
        assert path.with_name("recipe.toml").read_text() == written
        assert {one.name for one in path.parent.iterdir()} == {"model.onnx", "recipe.toml"}


def test_a_new_version_is_one_more_than_the_last(tmp_path: Path) -> None:
    for version in ("1", "10", "notes"):
        (tmp_path / version).mkdir()
    assert next_version(tmp_path) == tmp_path / "11/model.onnx"


@pytest.mark.parametrize(
    ("models", "words"),
    [
        ("file", "file is a file, not a folder. Give another folder with --models"),
        ("file/below", "file is a file, not a folder"),
        ("lost", "lost is no folder"),
        ("lost/below", "lost is no folder"),
        ("n" * 300, "File name too long. Give another folder with --models"),
    ],
)
def test_a_place_where_nothing_can_be_written_is_found_by_trying(
    models: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "lost").symlink_to("nowhere")
    path = next_version(tmp_path / models / "net")
    with pytest.raises(WriteError, match=words):
        require_writable(path)
    assert {one.name for one in tmp_path.iterdir()} == {"file", "lost"}


@pytest.mark.skipif(sys.platform != "linux", reason="a file system that takes no folders")
def test_a_pseudo_file_system_is_found_by_trying_whoever_runs_the_export() -> None:
    with pytest.raises(WriteError, match="can not be written in /proc: "):
        require_writable(Path("/proc/models/net/1/model.onnx"))


@pytest.mark.parametrize("made", ["", "models", "models/net/1"])
def test_nothing_is_left_where_a_file_can_be_written(made: str, tmp_path: Path) -> None:
    (tmp_path / made).mkdir(parents=True, exist_ok=True)
    before = sorted(tmp_path.rglob("*"))
    require_writable(tmp_path / "models/net/1/model.onnx")
    assert sorted(tmp_path.rglob("*")) == before
