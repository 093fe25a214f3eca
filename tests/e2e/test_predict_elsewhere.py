"""`foveal predict` and `foveal evaluate` on images in a bucket: what they give for the same files in a folder."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from service.bulk.evaluate import Evaluation, evaluate
from service.bulk.predictor import Wanted
from service.settings import Settings
from tests.buckets import BUCKET, no_rights
from tests.digits import write_noisy_digits
from tests.live import MODELS

COUNT = 640
SAMPLES = MODELS.parent / "service/playground/samples"


def upload(s3: Any, folder: Path, prefix: str) -> None:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            s3.put_object(Bucket=BUCKET, Key=key, Body=path.read_bytes())


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of small images, of which some are none, and a shard of them."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(COUNT):
        path = folder / f"{index:04}.png"
        if index % 50 == 7:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(np.full((4, 4, 3), (index % 256, 80, 9), np.uint8)).save(path)
    with tarfile.open(folder / "z.tar", "w") as shard:
        for path in sorted(folder.glob("*.png"))[::4]:
            shard.add(path, path.name)
    return folder


def command(repository: Path, out: Path, source: str, *more: str) -> list[str]:
    base = [sys.executable, "-m", "service.cli", "predict", source, "--task", "classify"]
    return [*base, "--models", str(repository), "--out", str(out), *more]


def rows_of(out: Path, root: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    return [{**row, "image": row["image"].removeprefix(root)} for row in rows]


@pytest.mark.timeout(240)
def test_a_bucket_gives_the_rows_of_a_folder_also_after_a_kill(
    images: Path, repository: Path, s3: Any, tmp_path: Path
) -> None:
    upload(s3, images, "images")
    here, out = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    assert subprocess.run(command(repository, here, str(images)), check=False).returncode == 1

    there = command(repository, out, "s3://bucket/images", "--resume")
    process = subprocess.Popen(there, stderr=subprocess.DEVNULL)
    while not out.exists() or out.stat().st_size < 5000:  # then it is in the middle
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.001)
        assert process.returncode is None
    process.kill()
    process.wait()
    assert 0 < out.read_bytes().count(b"\n") < COUNT + COUNT // 4
    resumed = subprocess.run(there, capture_output=True, text=True, check=False)

    assert resumed.returncode == 1, resumed.stderr
    assert "from before" in resumed.stderr
    assert rows_of(out, "s3://bucket/images") == rows_of(here, str(images))


@pytest.mark.timeout(240)
def test_a_place_that_refuses_meanwhile_ends_the_run_and_the_rest_is_done_later(
    images: Path, repository: Path, moto: str, s3: Any, tmp_path: Path
) -> None:
    upload(s3, images, "images")
    out = tmp_path / "r.jsonl"
    source = "s3://bucket/images/*.png"
    process = subprocess.Popen(
        command(repository, out, source),
        stderr=subprocess.PIPE,
        env={**os.environ, "COLUMNS": "999"},
    )
    while not out.exists() or not out.stat().st_size:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.001)
        assert process.returncode is None
    with no_rights(moto):
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    message = " ".join(said.decode().split())
    assert "It refuses: check the credentials (AWS_ACCESS_KEY_ID" in message
    assert "go on with --resume" in message
    assert "Traceback" not in message
    assert not [row for row in rows_of(out, "") if "unreadable" in json.dumps(row)]
    again = subprocess.run(command(repository, out, source, "--resume"), check=False)
    assert again.returncode == 1
    assert len(rows_of(out, "")) == COUNT


def test_a_bucket_without_rights_is_refused_before_anything_is_written(
    repository: Path, moto: str, s3: Any, tmp_path: Path
) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.png", Body=b"x")
    out = tmp_path / "r.jsonl"
    with no_rights(moto):
        done = subprocess.run(
            command(repository, out, "s3://bucket"), capture_output=True, text=True, check=False
        )
    assert done.returncode == 2
    assert "AWS_ACCESS_KEY_ID" in done.stderr
    assert "the-secret" not in done.stderr
    assert not out.exists()


# Evaluation.


def measure(
    source: Path | str, out: Path, task: str, model: str | None, labels: Path | str | None = None
) -> dict[str, Any]:
    known = None if labels is None else str(labels)
    given = Evaluation((str(source),), known, out=out, overwrite=True)
    wanted = Wanted(task, model)
    assert asyncio.run(evaluate(Settings(models=MODELS), wanted, given, Console())) == 0
    report: dict[str, Any] = json.loads(out.read_text())
    return {name: report[name] for name in ("images", "scores", "by_label")}


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """Digits that are noisy enough to be mistaken, in a folder for each class."""
    root = tmp_path / "digits"
    write_noisy_digits(root, 100)
    return root


def test_classes_are_folders_shards_or_a_table(digits: Path, s3: Any, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    expected = measure(digits, out, "classify", "lenet5")
    assert expected["images"] == 50
    upload(s3, digits, "val")
    assert measure("s3://bucket/val", out, "classify", "lenet5") == expected

    body = BytesIO()
    with tarfile.open(fileobj=body, mode="w") as shard:
        for path in sorted(digits.rglob("*.png")):
            for ending, content in (("png", path.read_bytes()), ("cls", path.parent.name.encode())):
                member = tarfile.TarInfo(f"{path.stem}.{ending}")
                member.size = len(content)
                shard.addfile(member, BytesIO(content))
    s3.put_object(Bucket=BUCKET, Key="shards/val.tar", Body=body.getvalue())
    assert measure("s3://bucket/shards", out, "classify", "lenet5") == expected

    table = tmp_path / "val.csv"
    rows = [f"{path.relative_to(digits)},{path.parent.name}" for path in digits.rglob("*.png")]
    table.write_text("\n".join(["file,label", *rows]))
    assert measure("s3://bucket/val", out, "classify", "lenet5", table) == expected
    assert json.loads(out.read_text())["labels_without_image"] == 0
    table.write_text("\n".join(["file,label", *rows, "nowhere/1.png,3", "nowhere/2.png,4"]))
    assert measure("s3://bucket/val", out, "classify", "lenet5", table) == expected
    assert json.loads(out.read_text())["labels_without_image"] == 2
    s3.put_object(Bucket=BUCKET, Key="labels/truth.csv", Body=table.read_bytes())
    there = "s3://bucket/labels/truth.csv"
    assert measure("s3://bucket/val", out, "classify", "lenet5", there) == expected
    table.write_text("\n".join(["file,label", *rows]))
    s3.put_object(Bucket=BUCKET, Key="labels/truth.csv", Body=table.read_bytes())
    assert measure(digits, out, "classify", "lenet5", there) == expected
    assert json.loads(out.read_text())["labels"] == "truth.csv"
    assert measure("s3://bucket/val", out, "classify", "lenet5", "s3://bucket/val/") == expected


def test_masks_belong_to_images_of_the_same_name(s3: Any, tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    for name in ("cup", "cat"):
        with Image.open(SAMPLES / f"{name}.jpg") as image:
            image.save(images / f"{name}.png")
            mask = np.zeros((image.height, image.width), np.uint8)
            mask[: image.height // 2] = 1
            Image.fromarray(mask).save(masks / f"{name}.png")
    upload(s3, images, "set/images")
    out = tmp_path / "report.json"
    expected = measure(images, out, "segment", "unet-digits", masks)
    assert expected["images"] == 2
    assert measure("s3://bucket/set", out, "segment", "unet-digits", masks) == expected

    upload(s3, masks, "set/masks")
    rows = "\n".join(f"{name}.png,masks/{name}.png" for name in ("cup", "cat"))
    s3.put_object(Bucket=BUCKET, Key="set/truth.csv", Body=f"file,mask\n{rows}".encode())
    for labels in ("set/masks", "set/", "set/truth.csv"):
        for source in ("s3://bucket/set/images", images):
            found = measure(source, out, "segment", "unet-digits", f"s3://bucket/{labels}")
            assert found == expected, (labels, source)


def test_boxes_are_in_annotations_here_or_there(s3: Any, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("cup.jpg", "cat.jpg"):
        (images / name).write_bytes((SAMPLES / name).read_bytes())
    upload(s3, images, "val")
    box = [60, 60, 180, 160]
    truth = {
        "images": [{"id": 1, "file_name": "cup.jpg"}, {"id": 2, "file_name": "cat.jpg"}],
        "categories": [{"id": 5, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": box, "area": 28800}],
    }
    labels = tmp_path / "truth.json"
    labels.write_text(json.dumps(truth))
    out = tmp_path / "report.json"
    expected = measure(images, out, "detect", None, labels)
    assert measure("s3://bucket/val", out, "detect", None, labels) == expected
    s3.put_object(Bucket=BUCKET, Key="annotations/truth.json", Body=labels.read_bytes())
    for there in ("annotations/truth.json", "annotations"):
        for source in ("s3://bucket/val", images):
            assert measure(source, out, "detect", None, f"s3://bucket/{there}") == expected


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--task", "classify", "--labels", "s3://bucket/a.csv"],
            "--labels s3://bucket/a.csv: there is no such file",
        ),
        (["--task", "detect", "--labels", "s3://bucket/no"], "of JSON files the folder has none"),
        (["--task", "segment", "--labels", "s3://bucket/no"], "there is no mask"),
        (["--task", "classify", "--labels", "s3://bucket/no"], "give a CSV with the columns"),
        (["--task", "classify", "--labels", "ftp://host/a.csv"], "is no place of images"),
        (["--task", "classify", "--labels", "."], "give a CSV with the columns file and label"),
        (["--task", "segment"], "needs masks: --labels FOLDER"),
        (["--task", "detect"], "needs annotations in COCO's form: --labels FILE"),
        (["--task", "classify"], "there are no labels in it"),
    ],
)
def test_labels_that_are_not_there_are_asked_for(s3: Any, more: list[str], message: str) -> None:
    s3.put_object(Bucket=BUCKET, Key="a.png", Body=b"x")
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", "evaluate", "s3://bucket", *more],
        env={**os.environ, "COLUMNS": "999"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert message in done.stderr
