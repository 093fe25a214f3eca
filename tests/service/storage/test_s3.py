"""Models in S3: moto's server answers, s3fs asks."""

from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from service.errors import StorageError
from service.storage.locking import lock_models
from service.storage_metrics import StorageMetrics
from tests.buckets import no_rights
from tests.servables import color_model, write_servable
from tests.service.storage.conftest import Open
from tests.service.storage.counted import counted


def upload(s3: Any, path: Path, key: str) -> None:
    s3.put_object(Bucket="bucket", Key=key, Body=path.read_bytes())


def test_a_prefix_is_served_as_a_folder_is(s3: Any, tmp_path: Path, open_place: Open) -> None:
    path = write_servable(tmp_path / "here")
    upload(s3, path, "prefix/colors/1/model.onnx")
    upload(s3, path, "prefix/colors/2/model.onnx")
    s3.put_object(
        Bucket="bucket", Key="prefix/foveal.toml", Body=b"[models.colors]\nttl_seconds = 5\n"
    )
    s3.put_object(Bucket="bucket", Key="other/colors/9/model.onnx", Body=b"")
    storage = open_place("s3://bucket/prefix")
    storage.refresh()
    servables, refusals = storage.scan()
    assert [str(one.version) for one in servables] == ["1", "2"]
    assert refusals == ()
    assert servables[0].path.read_bytes() == path.read_bytes()
    assert (storage.folder / "foveal.toml").read_text() == "[models.colors]\nttl_seconds = 5\n"


def test_what_is_no_file_of_a_repository_is_never_fetched(
    s3: Any,
    tmp_path: Path,
    open_place: Open,
    caplog: pytest.LogCaptureFixture,
) -> None:
    path = write_servable(tmp_path / "here")
    for key in (
        "prefix/../evil/1/model.onnx",
        "prefix/colors/../model.onnx",
        "prefix/colors/1/../../../../etc/model.onnx",
        "prefix//colors/1/model.onnx",
        "prefix/Colors/1/model.onnx",
        "prefix/.hidden/1/model.onnx",
        "prefix/colors/0/model.onnx",
        "prefix/colors/one/model.onnx",
        "prefix/colors/1/script.py",
        "prefix/colors/1/more/model.onnx",
        "prefix/colors/1/model.onnx",
    ):
        upload(s3, path, key)
    storage = open_place("s3://bucket/prefix")
    storage.refresh()
    ((one,), _) = storage.scan()
    assert [path.name for path in one.path.parent.iterdir()] == ["model.onnx"]
    found = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in found if path.name in {"script.py", "evil"}] == []
    assert sum(path.name == "model.onnx" for path in found) == 2
    assert "lists '..', which can not name a model" in caplog.text


def test_only_what_has_changed_is_fetched_again(
    s3: Any,
    tmp_path: Path,
    open_place: Open,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "foveal")
    upload(s3, write_servable(tmp_path / "a"), "colors/1/model.onnx")
    upload(s3, write_servable(tmp_path / "a", version=2), "colors/2/model.onnx")
    storage = open_place("s3://bucket")
    storage.refresh()
    before = {one.version: one.path for one in storage.scan()[0]}
    caplog.clear()
    other = write_servable(tmp_path / "b", model=color_model(input_name="image", batch="M"))
    upload(s3, other, "colors/2/model.onnx")
    storage.refresh(before.values())
    after = {one.version: one.path for one in storage.scan()[0]}
    assert caplog.text.count("fetching") == 1
    assert after[1] == before[1]
    assert after[2] != before[2]
    assert after[2].read_bytes() == other.read_bytes()
    assert before[2].exists(), "it may be served yet"


def test_a_bucket_without_rights_is_an_error_that_names_the_remedy(
    s3: Any,
    moto: str,
    tmp_path: Path,
    open_place: Open,
) -> None:
    upload(s3, write_servable(tmp_path / "here"), "colors/1/model.onnx")
    storage = open_place("s3://bucket")
    with no_rights(moto), pytest.raises(StorageError, match="AWS_ACCESS_KEY_ID") as caught:
        storage.refresh()
    assert "the-secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["s3://bucket/nothing", "s3://no-such-bucket/prefix"])
def test_a_place_that_is_not_there_is_an_error(s3: Any, open_place: Open, url: str) -> None:  # noqa: ARG001
    with pytest.raises(StorageError, match=f"There is nothing at {url}"):
        open_place(url).refresh()


def test_a_lock_pins_what_lies_in_the_bucket(s3: Any, tmp_path: Path, open_place: Open) -> None:
    path = write_servable(tmp_path / "here")
    upload(s3, path, "colors/1/model.onnx")
    lock = tmp_path / "foveal.lock"
    assert lock_models(open_place("s3://bucket"), lock, []) == []
    other = write_servable(tmp_path / "other", model=color_model(batch="M"))
    upload(s3, other, "colors/1/model.onnx")
    upload(s3, other, "colors/2/model.onnx")
    storage = open_place("s3://bucket", lock=lock)
    storage.refresh()
    servables, refusals = storage.scan()
    assert [(one.version, one.path.read_bytes()) for one in servables] == [(1, path.read_bytes())]
    reasons = {one.path.parent.name: one.reason for one in refusals}
    assert reasons["1"].count("sha256:") >= 2
    assert "pins sha256:" in reasons["1"]
    assert "is not pinned in foveal.lock" in reasons["2"]


def test_what_is_fetched_and_what_the_cache_has_is_counted(
    s3: Any, tmp_path: Path, open_place: Open
) -> None:
    registry = CollectorRegistry()
    storage = open_place("s3://bucket", metrics=StorageMetrics(registry))
    size = 0
    for version in (1, 2):
        path = write_servable(tmp_path / "here", version=version)
        upload(s3, path, f"colors/{version}/model.onnx")
        storage.refresh()
        size += path.stat().st_size
    assert counted(registry) == {
        "versions_total fetched": 2,
        "versions_total cached": 1,
        "fetched_bytes_total": size,
        "fetch_seconds_count": 2,
        "cache_bytes": size,
        "reachable": 1,
    }


def test_a_refusal_of_the_bucket_and_its_end_are_counted(
    s3: Any, moto: str, tmp_path: Path, open_place: Open
) -> None:
    upload(s3, write_servable(tmp_path / "here"), "colors/1/model.onnx")
    registry = CollectorRegistry()
    storage = open_place("s3://bucket", metrics=StorageMetrics(registry))
    storage.refresh()
    with no_rights(moto), pytest.raises(StorageError):
        storage.refresh()
    found = counted(registry)
    assert (found["failures_total denied"], found["reachable"]) == (1, 0)
    storage.refresh()
    found = counted(registry)
    assert (found["failures_total denied"], found["reachable"]) == (1, 1)


def test_another_digest_than_the_pinned_one_is_counted(
    s3: Any, tmp_path: Path, open_place: Open
) -> None:
    upload(s3, write_servable(tmp_path / "here"), "colors/1/model.onnx")
    lock = tmp_path / "foveal.lock"
    lock_models(open_place("s3://bucket"), lock, [])
    other = write_servable(tmp_path / "other", model=color_model(batch="M"))
    upload(s3, other, "colors/1/model.onnx")
    registry = CollectorRegistry()
    open_place("s3://bucket", lock=lock, metrics=StorageMetrics(registry)).refresh()
    found = counted(registry)
    assert found["failures_total digest"] == 1
    assert found["versions_total kept"] == 1
    assert found["fetched_bytes_total"] == other.stat().st_size
    assert "versions_total fetched" not in found
