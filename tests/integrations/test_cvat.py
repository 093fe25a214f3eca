"""The auto-annotation function of CVAT, run by the driver of CVAT's own SDK against a real service."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.finders import painted, plain, png, write_detector, write_segmenter
from tests.integrations.cvat_server import TASK, cvat
from tests.keys import key_of, write_keys
from tests.live import Live, serve
from tests.servables import write_servable

sdk = pytest.importorskip("cvat_sdk", reason="cvat-sdk is not installed: pip install -e .[test]")
aa = pytest.importorskip("cvat_sdk.auto_annotation")
masks = pytest.importorskip("cvat_sdk.masks")

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    write_detector(root)
    write_segmenter(root)
    with serve(models=root, keys=write_keys(root / "keys.toml")) as service:
        yield service


def annotated(
    live: Live,
    folder: Path,
    frames: Mapping[str, bytes],
    labels: Mapping[str, str],
    *,
    model: str | None = None,
    task: str = "detect",
    **options: Any,
) -> dict[str, Any]:
    """Return what the driver stores for a task."""
    from integrations.cvat.foveal_cvat import create  # noqa: PLC0415  # needs cvat-sdk

    function = create(live.url, model=model, task=task, key=key_of("ada"))
    with cvat(frames, labels) as server:
        config = sdk.core.client.Config(cache_dir=folder)
        with sdk.core.client.Client(
            server.url, config=config, check_server_version=False
        ) as client:
            aa.annotate_task(client, TASK, function, allow_unmatched_labels=True, **options)
        return server.stored


def test_boxes_of_every_frame_go_to_the_labels_of_their_names(live: Live, tmp_path: Path) -> None:
    frames = {"a.png": plain((230, 128, 0)), "b.png": plain((0, 0, 255))}
    stored = annotated(live, tmp_path, frames, {"tv": "rectangle", "cup": "rectangle"})
    found = [(one["frame"], one["label_id"], one["points"]) for one in stored["shapes"]]
    assert found == [(0, 102, [20, 10, 60, 20]), (1, 101, [40, 20, 80, 40])]
    assert {one["type"] for one in stored["shapes"]} == {"rectangle"}
    assert {one["source"] for one in stored["shapes"]} == {"auto"}


def test_the_threshold_is_cvats(live: Live, tmp_path: Path) -> None:
    frames, labels = {"a.png": plain((230, 128, 0))}, {"dining table": "any", "cup": "any"}
    for threshold, count in ((0.4, 2), (0.6, 1), (0.95, 0)):
        stored = annotated(
            live, tmp_path / str(threshold), frames, labels, conf_threshold=threshold
        )
        assert len(stored["shapes"]) == count


def test_masks_are_those_of_the_pixels(live: Live, tmp_path: Path) -> None:
    frames, labels = {"a.png": png(painted())}, {"green": "mask", "blue": "any", "red": "any"}
    stored = annotated(live, tmp_path, frames, labels, model="painter")
    found = {
        one["label_id"]: masks.decode_mask(one["points"], image_width=8, image_height=8)
        for one in stored["shapes"]
    }
    strongest = painted().argmax(axis=2)
    assert set(found) == {101, 102}  # red is background
    np.testing.assert_array_equal(found[101], strongest == 1)
    np.testing.assert_array_equal(found[102], strongest == 2)


def test_masks_become_polygons_where_cvat_wants_them(live: Live, tmp_path: Path) -> None:
    frames, labels = {"a.png": png(painted())}, {"green": "polygon"}
    stored = annotated(live, tmp_path, frames, labels, model="painter", conv_mask_to_poly=True)
    [shape] = stored["shapes"]
    assert shape["type"] == "polygon"
    xs, ys = shape["points"][::2], shape["points"][1::2]
    assert (min(xs), max(xs), min(ys), max(ys)) == (1, 5, 3, 5)


def test_a_class_becomes_a_tag(live: Live, tmp_path: Path) -> None:
    frames = {"a.png": plain((0, 0, 255)), "b.png": plain((255, 0, 0))}
    stored = annotated(live, tmp_path, frames, {"red": "tag", "blue": "tag"}, task="classify")
    assert [(one["frame"], one["label_id"]) for one in stored["tags"]] == [(0, 102), (1, 101)]


def test_what_is_not_there_is_named(live: Live, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"no model nothing .*Models: colors, finder, painter"):
        annotated(live, tmp_path, {}, {}, model="nothing")


@pytest.mark.timeout(120)
@pytest.mark.skipif(importlib.util.find_spec("cvat_cli") is None, reason="needs cvat-cli")
def test_the_command_of_the_page_runs_as_it_stands(live: Live, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"^ {4}cvat-cli (.*)$", page, re.MULTILINE)
    with cvat({"a.png": plain((230, 128, 0))}, {"cup": "rectangle"}) as server:
        host, port = server.url.rsplit(":", 1)
        words = shlex.split(command.replace("http://localhost:8000", live.url))
        words[words.index("https://CVAT")] = host
        words[words.index("TASK")] = str(TASK)
        words += ["-p", f"key=str:{key_of('ada')}"]
        words[words.index("model=str:ssdlite-mobilenet-v2")] = "model=str:finder"
        done = subprocess.run(
            [sys.executable, "-m", "cvat_cli", f"--server-port={port}", *words],
            env={**os.environ, "CVAT_ACCESS_TOKEN": "of the test", "HOME": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        (found,) = server.stored["shapes"]
    assert (found["label_id"], found["points"]) == (101, [20, 10, 60, 20])
