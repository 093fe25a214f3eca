"""`foveal evaluate`: its scores are those that sklearn, pycocotools and NumPy give for the service's answers."""

import asyncio
import contextlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from rich.console import Console
from sklearn.metrics import accuracy_score, jaccard_score, recall_score, top_k_accuracy_score

from service.bulk.evaluate import Evaluation, evaluate
from service.bulk.predictor import Wanted
from service.errors import ConfigurationError
from service.settings import Settings
from tests.digits import write_noisy_digits
from tests.live import MODELS

SAMPLES = MODELS.parent / "service/playground/samples"


def measure(
    source: Path,
    task: str,
    model: str | None,
    labels: Path | None = None,
    options: tuple[str, ...] = (),
) -> tuple[int, dict[str, Any]]:
    """Return the exit status and the report."""
    out = source.parent / "report.json"
    known = None if labels is None else str(labels)
    given = Evaluation((str(source),), known, out=out, overwrite=True)
    wanted = Wanted(task, model, options)
    status = asyncio.run(evaluate(Settings(models=MODELS), wanted, given, Console()))
    report: dict[str, Any] = json.loads(out.read_text())
    return status, report


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits that are noisy enough to be mistaken, in a folder for each class."""
    root = tmp_path_factory.mktemp("digits") / "set"
    write_noisy_digits(root, 50)
    return root


def probabilities(client: httpx.Client, path: Path) -> list[float]:
    response = client.post("/v1/classify?model=lenet5&top_k=10", content=path.read_bytes())
    found = response.json()["results"][0]["predictions"]
    return [one["probability"] for one in sorted(found, key=lambda one: one["class_id"])]


def test_top_1_and_top_5_are_those_of_sklearn(digits: Path, client: httpx.Client) -> None:
    files = sorted(digits.rglob("*.png"))
    truth = [int(file.parent.name) for file in files]
    scores = np.array([probabilities(client, file) for file in files])
    first = scores.argmax(axis=1)

    status, report = measure(digits, "classify", "lenet5")

    assert status == 0
    assert report["images"] == 100
    assert 0.3 < report["scores"]["top1"] < 1
    assert report["scores"] == {
        "top1": pytest.approx(accuracy_score(truth, first)),
        "top5": pytest.approx(top_k_accuracy_score(truth, scores, k=5)),
    }
    by_class = recall_score(truth, first, average=None)
    assert [report["by_label"][str(kind)]["accuracy"] for kind in range(10)] == [
        pytest.approx(one, abs=1e-6) for one in by_class
    ]


def test_a_table_gives_the_same_and_a_bad_image_is_left_out(digits: Path, tmp_path: Path) -> None:
    _, expected = measure(digits, "classify", "lenet5")
    rows = [f"{path.relative_to(digits)},{path.parent.name}" for path in digits.rglob("*.png")]
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"no image")
    (tmp_path / "labels.csv").write_text("\n".join(["file,label", *rows, f"{bad},3"]))

    status, report = measure(digits, "classify", "lenet5", tmp_path / "labels.csv")

    assert status == 1
    assert report["scores"] == expected["scores"]
    assert [(one["image"], one["code"]) for one in report["left_out"]] == [
        (str(bad), "unsupported_image")
    ]


def test_map_is_that_of_pycocotools(client: httpx.Client, tmp_path: Path) -> None:
    """The truth is made of the answers, moved and with some left out, so that the scores are neither 0 nor 1."""
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(19)
    listed: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for index, path in enumerate(sorted(SAMPLES.glob("*.jpg"))):
        shutil.copy(path, images)
        response = client.post("/v1/detect?score_threshold=0", content=path.read_bytes())
        answer = response.json()["results"][0]
        listed.append(
            {
                "id": index,
                "file_name": path.name,
                "width": answer["width"],
                "height": answer["height"],
            }
        )
        for one in answer["detections"]:
            box = [one["box"][side] for side in ("x_min", "y_min", "x_max", "y_max")]
            xywh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            name = {"image_id": index, "category_id": one["class_id"]}
            results.append({**name, "bbox": xywh, "score": one["score"], "label": one["label"]})
            if noise.random() < 0.4:
                moved = [value + noise.normal(0, 4) for value in xywh]
                annotations.append(
                    {
                        **name,
                        "id": len(annotations) + 1,
                        "bbox": moved,
                        "area": moved[2] * moved[3],
                        "iscrowd": 0,
                    }
                )
    names = {one["category_id"]: one["label"] for one in results}
    categories = [{"id": kind, "name": name} for kind, name in names.items()]
    truth = {"info": {}, "images": listed, "categories": categories, "annotations": annotations}
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    with contextlib.redirect_stdout(io.StringIO()):
        judged = COCO(str(tmp_path / "truth.json"))
        judged = COCOeval(judged, judged.loadRes(results), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()

    status, report = measure(images, "detect", None, tmp_path / "truth.json")

    assert status == 0
    assert 0.05 < report["scores"]["map"] < 0.95
    assert report["scores"] == {
        "map": pytest.approx(judged.stats[0], abs=1e-6),
        "map50": pytest.approx(judged.stats[1], abs=1e-6),
    }


def test_mean_iou_is_that_of_sklearn(client: httpx.Client, tmp_path: Path) -> None:
    """The masks lie in a folder of their own; the truth is the answer with a part of it painted over."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    found, true = [], []
    for path in (SAMPLES / "digits.jpg", SAMPLES / "cup.jpg"):
        shutil.copy(path, images)
        response = client.post(
            "/v1/segment?model=unet-digits&format=mask", content=path.read_bytes()
        )
        answer = np.asarray(Image.open(io.BytesIO(response.content)))
        truth = answer.copy()
        truth[:, : truth.shape[1] // 3] = 3
        truth[: truth.shape[0] // 4] = 255
        Image.fromarray(truth).save(masks / f"{path.stem}.png")
        found.append(answer[truth != 255])
        true.append(truth[truth != 255])

    status, report = measure(images, "segment", "unet-digits", masks)

    answers, truths = np.concatenate(found), np.concatenate(true)
    assert status == 0
    assert 0.01 < report["scores"]["miou"] < 0.99
    assert report["scores"] == {
        "miou": pytest.approx(jaccard_score(truths, answers, average="macro"), abs=1e-6),
        "pixel_accuracy": pytest.approx(accuracy_score(truths, answers), abs=1e-6),
    }


def test_masks_of_another_size_are_left_out(tmp_path: Path) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    images.mkdir()
    masks.mkdir()
    shutil.copy(SAMPLES / "cup.jpg", images)
    Image.new("L", (3, 2)).save(masks / "cup.png")

    with pytest.raises(
        ConfigurationError, match=r"No image can be measured.*annotations are for 3×2"
    ):
        measure(images, "segment", "unet-digits", masks)


def test_annotations_without_any_box_are_no_result(tmp_path: Path) -> None:
    images, labels = tmp_path / "images", tmp_path / "truth.json"
    images.mkdir()
    Image.new("RGB", (40, 30)).save(images / "a.png")
    crowd = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9], "iscrowd": 1, "area": 81}
    known = {
        "images": [{"id": 1, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "person"}],
        "annotations": [crowd],
    }
    labels.write_text(json.dumps(known))

    with pytest.raises(ConfigurationError, match=r"no box that is no crowd in any of the 1 images"):
        measure(images, "detect", None, labels)


@pytest.mark.parametrize(
    ("task", "model", "options", "message"),
    [
        ("embed", "lenet5", (), "--task: evaluated are classify, segment, detect, not embed"),
        ("classify", "lenet5", ("top_k=2",), "an evaluation sets this itself"),
        ("classify", "nothing", (), "There is no model 'nothing'"),
        ("detect", None, (), "needs annotations in COCO's form"),
        ("segment", "unet-digits", (), "needs the folder masks in it"),
        ("classify", "efficientnet-lite0", (), "with its images inside|no such class"),
    ],
)
def test_what_can_not_be_measured_is_refused(
    task: str, model: str | None, options: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "set" / "unheard-of"
    folder.mkdir(parents=True)
    shutil.copy(SAMPLES / "cup.jpg", folder)

    with pytest.raises(ConfigurationError, match=message):
        measure(tmp_path / "set", task, model, options=options)
    assert not (tmp_path / "report.json").exists()


def shards_of(digits: Path, folder: Path, extension: str) -> list[Path]:
    """Write the digits into two shards, each beside its label in a member of this extension."""
    folder.mkdir()
    found = []
    for half in (0, 1):
        found.append(folder / f"val-{half}.tar")
        with tarfile.open(found[-1], "w") as shard:
            for path in sorted(digits.rglob("*.png"))[half::2]:
                text = path.parent.name
                body = json.dumps({"label": int(text), "id": 7}) if extension == "json" else text
                members = (("png", path.read_bytes()), (extension, body.encode()))
                for ending, content in members:
                    member = tarfile.TarInfo(f"{path.stem}.{ending}")
                    member.size = len(content)
                    shard.addfile(member, io.BytesIO(content))
    return found


@pytest.mark.parametrize("extension", ["cls", "json", "txt"])
def test_shards_with_labels_give_the_same(digits: Path, extension: str, tmp_path: Path) -> None:
    _, expected = measure(digits, "classify", "lenet5")
    shards_of(digits, tmp_path / "shards", extension)

    status, report = measure(tmp_path / "shards", "classify", "lenet5")

    assert status == 0
    assert report["images"] == 100
    assert report["scores"] == expected["scores"]
    assert report["by_label"] == expected["by_label"]


def test_an_image_without_a_label_is_left_out_and_a_cut_shard_named(
    digits: Path, tmp_path: Path
) -> None:
    first, second = shards_of(digits, tmp_path / "shards", "cls")
    first.write_bytes(first.read_bytes()[:-60_000])
    with tarfile.open(second, "a") as shard:
        shard.add(SAMPLES / "cup.jpg", "cup.jpg")

    status, report = measure(tmp_path / "shards", "classify", "lenet5")

    assert status == 1
    assert 50 < report["images"] < 100
    left_out = {one["code"]: one["image"] for one in report["left_out"]}
    assert left_out == {"unreadable_source": str(first), "no_label": f"{second}/cup.jpg"}


@pytest.mark.parametrize("kind", ["number", "name", "hugging face", "list", "older list"])
def test_tables_with_labels_give_the_same(digits: Path, kind: str, tmp_path: Path) -> None:
    """Of Hugging Face's tables the numbers are those of its own list of names."""
    pq = pytest.importorskip("pyarrow.parquet", reason="needs pip install -e '.[parquet]'")
    pa = pytest.importorskip("pyarrow")
    _, expected = measure(digits, "classify", "lenet5")
    files = sorted(digits.rglob("*.png"))
    classes = [int(file.parent.name) for file in files]
    names = [str(9 - index) for index in range(10)]
    forms: dict[str, list[Any]] = {
        "number": classes,
        "name": [str(one) for one in classes],
        "hugging face": [9 - one for one in classes],
        "list": [[9 - one] for one in classes],
        "older list": [[9 - one] for one in classes],
    }
    table = pa.table(
        {
            "image": [{"bytes": file.read_bytes(), "path": None} for file in files],
            "label": forms[kind],
        }
    )
    feature = {"names": names, "_type": "ClassLabel"}
    features = {
        "hugging face": feature,
        "list": {"feature": feature, "_type": "Sequence"},
        "older list": [feature],
    }
    if kind in features:
        info = json.dumps({"info": {"features": {"label": features[kind]}}})
        table = table.replace_schema_metadata({"huggingface": info})
    pq.write_table(table, tmp_path / "val.parquet")

    status, report = measure(tmp_path / "val.parquet", "classify", "lenet5")

    assert status == 0
    assert report["scores"] == expected["scores"]
    assert report["by_label"] == expected["by_label"]


def test_boxes_of_images_in_a_shard_are_in_annotations(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(SAMPLES / "cup.jpg", folder)
    shutil.copy(SAMPLES / "cat.jpg", folder)
    with tarfile.open(tmp_path / "images.tar", "w") as shard:
        for name in ("cup.jpg", "cat.jpg"):
            shard.add(SAMPLES / name, f"val/{name}")
    box = [60, 60, 180, 160]
    truth = {
        "images": [{"id": 1, "file_name": "cup.jpg"}, {"id": 2, "file_name": "cat.jpg"}],
        "categories": [{"id": 5, "name": "cup"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": box, "area": 28800}],
    }
    labels = tmp_path / "truth.json"
    labels.write_text(json.dumps(truth))

    _, expected = measure(folder, "detect", None, labels)
    _, found = measure(tmp_path / "images.tar", "detect", None, labels)

    assert found["images"] == 2
    assert found["scores"] == expected["scores"]


@pytest.mark.parametrize(
    ("members", "task", "message"),
    [
        ({"a.jpg": b"x"}, "classify", "there are no labels in it. A tar shard has 0001.cls"),
        ({"a.jpg": b"x", "a.json": b"{"}, "classify", "a.json can not be read as a label"),
        ({"a.jpg": b"x", "a.json": b"1.5"}, "classify", "1.5 is no label"),
        ({"a.jpg": b"x", "a.cls": b"eleven"}, "classify", "the network has no such class"),
        ({"a.jpg": b"x", "a.cls": b"1"}, "segment", "on these sources needs masks"),
        ({"a.jpg": b"x", "a.cls": b"1"}, "detect", "needs annotations in COCO's form: --labels"),
        ({"a.cls": b"1"}, "classify", "has no image"),
    ],
)
def test_shards_that_can_not_be_measured_are_refused(
    members: dict[str, bytes], task: str, message: str, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "val.tar", "w") as shard:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))
    model = {"classify": "lenet5", "segment": "unet-digits"}.get(task)

    with pytest.raises(ConfigurationError, match=message):
        measure(tmp_path / "val.tar", task, model)


def test_a_sample_that_a_shard_has_twice_with_other_labels_is_refused(tmp_path: Path) -> None:
    """As after `tar --append`: each image has a row, but one label would be that of the other image."""
    with tarfile.open(tmp_path / "val.tar", "w") as shard:
        for name, content in (("a.jpg", b"x"), ("a.cls", b"3"), ("a.jpg", b"x"), ("a.cls", b"5")):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            shard.addfile(member, io.BytesIO(content))

    with pytest.raises(ConfigurationError, match=r"val\.tar/a has two labels, 3 and 5"):
        measure(tmp_path / "val.tar", "classify", "lenet5")


@pytest.mark.parametrize("task", ["classify", "detect", "segment"])
def test_an_answer_that_may_be_of_two_images_is_refused(
    digits: Path, tmp_path: Path, task: str
) -> None:
    first = next(iter(sorted(digits.rglob("*.png"))))
    with tarfile.open(tmp_path / "val.tar", "w") as shard:
        for folder in ("a", "b"):
            shard.add(first, f"{folder}/1.png")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\n1.png,3\n")
    if task == "detect":
        labels = tmp_path / "labels.json"
        box = {"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}
        images = [{"id": 1, "file_name": "1.png"}]
        known = {"images": images, "categories": [{"id": 1, "name": "cup"}], "annotations": [box]}
        labels.write_text(json.dumps(known))
    if task == "segment":
        labels = tmp_path / "masks"
        labels.mkdir()
        Image.new("L", (28, 28)).save(labels / "1.png")
    model = {"classify": "lenet5", "segment": "unet-digits"}.get(task)

    with pytest.raises(ConfigurationError, match=r"may be .*val\.tar/a/1\.png or .*b/1\.png"):
        measure(tmp_path / "val.tar", task, model, labels)


def test_a_report_that_exists_is_kept(digits: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.json"
    out.write_text("mine")
    given = Evaluation((str(digits),), out=out)
    wanted = Wanted("classify", "lenet5")

    with pytest.raises(ConfigurationError, match=r"the file exists\. Replace it with --over"):
        asyncio.run(evaluate(Settings(models=MODELS), wanted, given, Console()))
    assert out.read_text() == "mine"
