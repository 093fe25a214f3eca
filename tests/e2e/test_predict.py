"""`foveal predict`: its rows are what the service answers for the same bytes, and no kill loses or repeats one."""

import asyncio
import contextlib
import io
import json
import random
import shutil
import signal
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from typer.testing import CliRunner

from service.bulk.predict import Input, Output, predict
from service.bulk.predictor import Wanted
from service.bulk.results import read_results
from service.cli import cli
from service.errors import ConfigurationError
from service.settings import Settings
from tests.live import MODELS

SAMPLES = MODELS.parent / "service/playground/samples"
CASES = MODELS.parent / "tests/data"

Row = dict[str, Any]


def run(
    *sources: str | Path,
    out: Path,
    task: str = "classify",
    model: str | None = "lenet5",
    options: tuple[str, ...] = (),
    models: Path = MODELS,
    listed: bytes = b"",
    **output: Any,
) -> int:
    """Run the command in this process, and return its exit status."""
    settings = Settings(models=models)
    given = Input(tuple(map(str, sources)), BytesIO(listed))
    wanted = Wanted(task, model, options)
    return asyncio.run(predict(settings, wanted, given, Output(out, **output)))


def rows_of(out: Path) -> list[Row]:
    return [json.loads(line) for line in out.read_bytes().splitlines()]


def body_of(name: str) -> bytes:
    """Return the bytes of an image by its row's name: a file, or a member of a shard."""
    shard, tar, member = name.partition(".tar/")
    if not tar:
        return Path(name).read_bytes()
    with tarfile.open(f"{shard}.tar") as file:
        content = file.extractfile(member)
        assert content is not None
        return content.read()


@pytest.mark.parametrize(
    ("task", "model", "options"),
    [
        ("classify", "lenet5", {"top_k": "3"}),
        ("detect", "ssdlite-mobilenet-v2", {"box_format": "xywh", "classes": "person,cat"}),
        ("segment", "unet-digits", {"polygons": "true"}),
        ("embed", "lenet5", {}),
    ],
)
def test_rows_are_what_the_service_answers(
    task: str, model: str, options: dict[str, str], client: httpx.Client, tmp_path: Path
) -> None:
    shard = tmp_path / "samples.tar"
    with tarfile.open(shard, "w") as file:
        for path in sorted(SAMPLES.glob("*.jpg")):
            file.add(path, path.name)
    given = tuple(f"{name}={value}" for name, value in options.items())
    sources = (CASES, shard)

    status = run(*sources, out=tmp_path / "r.jsonl", task=task, model=model, options=given)

    assert status == 1  # some of the cases are no images
    found = rows_of(tmp_path / "r.jsonl")
    assert len(found) > 50
    for row in found:
        response = client.post(
            f"/v1/{task}", params={"model": model, **options}, content=body_of(row["image"])
        )
        answer = response.json()
        if response.is_success:
            whole = {"model": row["model"], "version": row["version"], "results": [row["result"]]}
            assert answer == whole, row["image"]
            # The text of the numbers is the same too.
            assert (
                response.content
                == json.dumps(whole, ensure_ascii=False, separators=(",", ":")).encode()
            )
        else:
            assert row["error"] == {"code": answer["code"], "detail": answer["detail"]}
    assert 0 < sum("error" in row for row in found) < len(found)


def test_parquet_has_the_same_rows_in_columns(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pip install -e '.[parquet]'")
    pa = pytest.importorskip("pyarrow")
    bodies = [path.read_bytes() for path in sorted(SAMPLES.glob("*.jpg"))] + [b"no image"]
    pq.write_table(pa.table({"image": bodies}), tmp_path / "images.parquet")

    for out in ("r.jsonl", "r.parquet"):
        assert run(tmp_path / "images.parquet", out=tmp_path / out) == 1

    lines = rows_of(tmp_path / "r.jsonl")
    table = pq.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["image"] for row in table] == [
        f"{tmp_path}/images.parquet/{index}" for index in range(len(bodies))
    ]
    for row, line in zip(table, lines, strict=True):
        assert {name: value for name, value in row.items() if value is not None} == line
    assert list(read_results(tmp_path / "r.parquet")) == lines


def test_drawn_images_are_those_of_the_service(client: httpx.Client, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn"
    names = [SAMPLES / "cup.jpg", SAMPLES / "cat.jpg", CASES / "cases"]

    run(*names, out=tmp_path / "r.jsonl", task="detect", model=None, images=drawn)

    answered = [row["image"] for row in rows_of(tmp_path / "r.jsonl") if "result" in row]
    files = [path for path in drawn.rglob("*") if path.is_file()]
    assert len(files) == len(answered)
    for name in names[:2]:
        response = client.post("/v1/detect?format=overlay", content=name.read_bytes())
        assert (drawn / f"{str(name)[1:]}.jpg").read_bytes() == response.content


def test_coco_results_are_read_and_judged_by_pycocotools(tmp_path: Path) -> None:
    """Against boxes that are the results themselves, every one is right."""
    images = tmp_path / "images"
    images.mkdir()
    for index, name in enumerate(("cup.jpg", "cat.jpg", "hopper.jpg")):
        shutil.copy(SAMPLES / name, images / f"{index + 7:012}.jpg")
    truth = {
        "images": [{"id": index + 7, "file_name": f"{index + 7:012}.jpg"} for index in range(3)],
        "categories": [
            {"id": 100 + index, "name": name} for index, name in enumerate(("person", "cat", "cup"))
        ],
        "annotations": [],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))

    for out, annotations in (("a", None), ("b", tmp_path / "truth.json")):
        run(
            images,
            out=tmp_path / f"{out}.jsonl",
            task="detect",
            model=None,
            coco=tmp_path / f"{out}.json",
            annotations=annotations,
        )
    by_class_id = json.loads((tmp_path / "a.json").read_text())
    found = json.loads((tmp_path / "b.json").read_text())

    assert {one["image_id"] for one in by_class_id} == {7, 8, 9}
    assert {one["category_id"] for one in found} <= {100, 101, 102}
    assert 0 < len(found) < len(by_class_id)
    annotated = [
        {**one, "id": index + 1, "area": one["bbox"][2] * one["bbox"][3], "iscrowd": 0}
        for index, one in enumerate(found)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {**truth, "info": {}, "annotations": annotated}
        coco.createIndex()
        judged = COCOeval(coco, coco.loadRes(str(tmp_path / "b.json")), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    assert judged.stats[0] == pytest.approx(1)


def test_masks_in_coco_form_have_the_areas_of_the_rows(tmp_path: Path) -> None:
    out = tmp_path / "r.jsonl"
    run(SAMPLES / "digits.jpg", out=out, task="segment", model="unet-digits", coco=tmp_path / "c")

    from pycocotools import mask  # noqa: PLC0415

    entries = json.loads((tmp_path / "c").read_text())
    (row,) = rows_of(out)
    segments = row["result"]["segments"]
    assert [int(mask.area(one["segmentation"])) for one in entries] == [
        one["area"] for one in segments
    ]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task": "paint"}, "--task: there is no 'paint'"),
        ({"task": "temporal"}, "--task: there is no 'temporal'"),
        ({"model": "nothing"}, "There is no model 'nothing' here. Models for classify: eff"),
        ({"model": "lenet5:9"}, "lenet5 has no version 9"),
        ({"model": "u2netp"}, "u2netp does segment, not classify"),
        ({"options": ("top_k=0",)}, "--option top_k: "),
        ({"options": ("top_k=11",)}, "lenet5 has 1 to 10 classes"),
        ({"options": ("top_k",)}, "write NAME=VALUE. Options: top_k"),
        ({"options": ("color=red",)}, "Options of classify: top_k"),
        ({"images": Path("drawn")}, "the results of classify can not be drawn"),
        ({"coco": Path("c.json")}, "--coco is for task detect and segment"),
        ({"annotations": Path("c.json")}, "--coco-annotations is for --coco"),
    ],
)
def test_what_can_not_be_is_refused_and_leaves_nothing(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        run(SAMPLES, out=tmp_path / "r.jsonl", **given)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pattern", ["", "/**/*.jpg"])
def test_images_may_not_be_drawn_into_their_source(pattern: str, tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "cat.jpg", tmp_path)
    with pytest.raises(ConfigurationError, match="this lies in the source"):
        run(
            f"{tmp_path}{pattern}",
            out=tmp_path / "r.jsonl",
            task="detect",
            model=None,
            images=tmp_path / "new",
        )


def test_an_empty_list_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="The list of paths has no image"):
        run("-", out=tmp_path / "r.jsonl", listed=b"\n")
    assert list(tmp_path.iterdir()) == []


# The command as a process.


def command(repository: Path, out: Path, *more: str) -> list[str]:
    base = [sys.executable, "-m", "service.cli", "predict", "-", "--task", "classify"]
    return [*base, "--models", str(repository), "--out", str(out), *more]


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    """Paths of small images, of which some are none."""
    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(400):
        path = folder / f"{index:04}.png"
        if index % 50 == 7:
            path.write_bytes(b"no image")
        else:
            Image.fromarray(np.full((4, 4, 3), (index % 256, 80, 9), np.uint8)).save(path)
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize(("kind", "kills"), [("jsonl", 2), ("parquet", 1)])
def test_kills_at_any_moment_lose_and_repeat_nothing(
    kind: str, kills: int, names: list[str], repository: Path, tmp_path: Path
) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow", reason="needs pip install -e '.[parquet]'")
    listed = "".join(f"{name}\n" for name in names).encode()
    out, undisturbed = tmp_path / f"r.{kind}", tmp_path / f"undisturbed.{kind}"
    assert run("-", out=undisturbed, model=None, models=repository, listed=listed) == 1
    chance = random.Random(19)
    journal = out if kind == "jsonl" else out.with_name(f"{out.name}.rows.jsonl")

    for _ in range(kills):
        process = subprocess.Popen(
            command(repository, out, "--resume"), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdin is not None
        size = journal.stat().st_size if journal.exists() else 0
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(listed)
            process.stdin.flush()
        grown = size + chance.randrange(200, 15_000)
        while not journal.exists() or journal.stat().st_size < grown:  # then it is in the middle
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.001)
            if process.returncode is not None:
                break
        process.kill()
        process.wait()
        process.stdin.close()
        assert not (kind == "parquet" and out.exists())

    resumed = subprocess.run(
        command(repository, out, "--resume"), input=listed, capture_output=True, check=False
    )

    assert resumed.returncode == 1, resumed.stderr
    assert b"400 images" in resumed.stderr
    assert b"from before; 8 failed" in resumed.stderr
    if kind == "jsonl":
        assert out.read_bytes() == undisturbed.read_bytes()
    assert list(read_results(out)) == list(read_results(undisturbed))


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_in_order_though_the_list_goes_on(
    number: int, status: int, names: list[str], repository: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.jsonl"
    process = subprocess.Popen(
        command(repository, out), stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write("".join(f"{name}\n" for name in names).encode())
    process.stdin.flush()
    while not out.exists() or not out.stat().st_size:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.01)
        assert process.returncode is None
    process.send_signal(number)

    assert process.wait(20) == status  # its input is still open
    said = process.stderr.read()
    process.stdin.close()
    process.stderr.close()
    assert b"Go on with --resume" in said
    assert b"Fatal Python error" not in said
    assert [row["image"] for row in rows_of(out)] == names[: len(rows_of(out))]


def test_a_full_disk_ends_in_order_and_the_rest_is_done_later(
    names: list[str], repository: Path, tmp_path: Path
) -> None:
    listed = "".join(f"{name}\n" for name in names).encode()
    out = tmp_path / "r.jsonl"
    limited = ["prlimit", "--fsize=20000", *command(repository, out)]

    full = subprocess.run(limited, input=listed, capture_output=True, check=False)

    assert full.returncode == 2
    said = b"".join(full.stderr.split())  # long paths are wrapped
    assert b"r.jsonlcannotbewritten:Filetoolarge.Itsrowsarewhole" in said
    assert b"Traceback" not in said
    assert len(rows_of(out)) > 10
    assert run("-", out=out, model=None, models=repository, listed=listed, mode="resume") == 1
    assert [row["image"] for row in rows_of(out)] == names


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_device_is_no_place_for_results(tmp_path: Path) -> None:
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(ConfigurationError, match="this is no regular file"):
        run(SAMPLES, out=tmp_path / "full.jsonl", mode="overwrite")


def test_the_help_names_every_option() -> None:
    said = CliRunner().invoke(cli, ["predict", "--help"], env={"COLUMNS": "200"}).output

    for option in ("--resume", "--overwrite", "--coco", "--images", "--option", "--column"):
        assert option in said
