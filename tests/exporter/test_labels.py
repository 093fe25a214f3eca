"""Labels as tools write them; the right labels are written out by hand."""

import json
import os
import pickle
from argparse import Namespace
from pathlib import Path

import onnx
import pytest
import torch
from onnx import helper

from exporter.errors import RecipeError
from exporter.labels import checkpoint_labels, onnx_labels, read_labels, repeated_labels
from tests.exporter.graphs import small_classifier

PETS = ("cat", "dog", "bird")


@pytest.mark.parametrize(
    "content",
    [
        b"cat\ndog\nbird",
        b"cat\ndog\nbird\n\n \n",
        b"cat\r\ndog\r\nbird\r\n",
        b"cat\rdog\rbird\r",
        b"\xef\xbb\xbfcat\ndog\nbird\n",
        "cat\ndog\nbird\n".encode("utf-16"),
        "\ufeffcat\r\ndog\r\nbird\r\n".encode("utf-16-be"),
        "cat\ndog\nbird\n".encode("utf-16-le"),
        "cat\ndog\nbird\n".encode("utf-16-be"),
        "\ufeffcat\ndog\nbird\n".encode("utf-32-le"),
        b"  cat \n\tdog\nbird",
        b"0 cat\n1 dog\n2 bird\n",
        b"0: cat\n1: dog\n2: bird\n",
        b"0,cat\n1,dog\n2,bird\n",
        b"n02121808 cat\nn02084071 dog, domestic dog\nn01503061 bird\n",
        b"{0: 'cat',\n 1: 'dog',\n 2: 'bird'}",
        b"['cat', 'dog',\n 'bird']",
        b"names:\n  0: cat\n  1: dog\n  2: bird\n",
        b'"cat",\n"dog",\n"bird"\n',
        b"0: 'cat',\n1: 'dog',\n2: 'bird'\n",
        b"0\tcat\n1\tdog\n2\tbird\n",
        b"0=cat\n1=dog\n2=bird\n",
        b"0. cat\n1. dog\n2. bird\n",
        b"0) cat\n1) dog\n2) bird\n",
        b"0 - cat\n1 - dog\n2 - bird\n",
        b"cat,0\ndog,1\nbird,2\n",
        b"cat 0\ndog 1\nbird 2\n",
        b"cat: 0\nbird: 2\ndog: 1\n",
        b"1 dog\n0 cat\n2 bird\n",
        b"label,index\ncat,0\ndog,1\nbird,2\n",
        b"n02121808 'cat'\nn02084071 'dog'\nn01503061 'bird'\n",
        b"0 n02121808 cat\n1 n02084071 dog\n2 n01503061 bird\n",
        b"item {\n id: 1\n name: 'cat'\n}\nitem {\n id: 3\n name: 'bird'\n}\nitem { name: \"dog\" id: 2 }",
    ],
)
def test_text_has_one_label_per_line(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)

    assert read_labels(path) == PETS


def test_lines_that_only_look_numbered_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("0\n1\n2\n3\n")
    assert read_labels(path) == ("0", "1", "2", "3")

    path.write_text("20 km/h\n30 km/h\n50 km/h\n")
    assert read_labels(path) == ("20 km/h", "30 km/h", "50 km/h")

    for lines in ("digit 0\ndigit 1\n", "zone:0\nzone:1\n", "2,5 mm\n7,5 mm\n", "7 dot\n5 spot\n"):
        path.write_text(lines)
        assert read_labels(path) == tuple(lines.split("\n")[:-1])

    path.write_text("great white shark\nice cream\nNew York, New York\n")
    assert read_labels(path)[2] == "New York, New York"


@pytest.mark.parametrize(
    "content",
    [
        "cat\ndog\nbird\n",
        "0,cat\n1,dog\n2,bird\n",
        "cat;0\nbird;2\ndog;1\n",
        "0\tcat\n1\tdog\n2\tbird\n",
        "id,name\n2,bird\n0,cat\n1,dog\n",
        "Label,Class_ID,color\ncat,0,red\ndog,1,red\nbird,2,blue\n",
        'index,name,display_name\n0,/m/01,"cat"\n1,/m/02,dog\n2,/m/03,bird\n',
        "name,r,g,b\ncat,0,0,0\ndog,0,8,0\nbird,9,8,0\n",
        "n02121808,cat\nn02084071,dog\nn01503061,bird\n",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_tables_have_a_column_of_labels(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"labels{suffix}"
    path.write_text(content)

    assert read_labels(path) == PETS


def test_one_class_may_have_its_id(tmp_path: Path) -> None:
    for name, content in (("a.txt", "0 cat\n"), ("a.txt", "cat,0"), ("a.csv", "0,cat\n")):
        (tmp_path / name).write_text(content)
        assert read_labels(tmp_path / name) == ("cat",)


def test_ids_may_be_left_out(tmp_path: Path) -> None:
    for content in ("0 cat\n2 dog\n", "0,cat\n2,dog\n"):
        (tmp_path / "a.txt").write_text(content)
        assert read_labels(tmp_path / "a.txt") == ("cat", "", "dog")


def test_a_label_map_names_what_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "map.pbtxt"
    path.write_text(
        "# of a detector\n"
        'item { name: "/m/01" id: 1 display_name: "\\303\\251t\\303\\251" keypoints { id: 7 label: "rim" } }\n'
        "item: {\n  name: 'b', id: 3 }"
    )
    assert read_labels(path) == ("été", "", "b")

    path.write_text("item { id: 0 name: 'background' } item { id: 1 name: 'cat' }")
    assert read_labels(path) == ("background", "cat")


@pytest.mark.parametrize(
    "content",
    [
        ["cat", "dog", "bird"],
        {"0": "cat", "1": "dog, hound", "2": "bird"},
        {"2": "bird", "0": "cat", "1": "dog"},
        {"cat": 0, "dog": 1, "bird": 2},
        {"0": ["n02121808", "cat"], "1": ["n02084071", "dog"], "2": ["n01503061", "bird"]},
        {"id2label": {"0": "cat", "1": "dog", "2": "bird"}, "hidden_size": 768},
        {"class_to_idx": {"bird": 2, "cat": 0, "dog": 1}},
        {"names": {"0": "cat", "1": "dog", "2": "bird"}, "nc": 3},
        {"categories": [{"id": i, "name": n} for i, n in enumerate(PETS)], "images": []},
        [{"name": "cat"}, {"name": "dog"}, {"name": "bird"}],
        [{"id": 1, "label": "dog"}, {"id": 0, "label": "cat"}, {"id": 2, "label": "bird"}],
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_json_in_the_forms_of_the_tools(content: object, encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content), encoding=encoding)

    assert read_labels(path) == PETS


FOLDERS = {"1": 0, "10": 1, "11": 2, "2": 3}
"""Folders that are named by numbers, sorted as ImageFolder sorts them."""


@pytest.mark.parametrize(
    "content",
    [
        {"class_to_idx": FOLDERS},
        FOLDERS,
        {"class_to_idx": FOLDERS, "classes": list(FOLDERS)},
        {"label2id": {name: str(class_id) for name, class_id in FOLDERS.items()}},
        {"id2label": {class_id: name for name, class_id in FOLDERS.items()}},
        {str(class_id): name for name, class_id in FOLDERS.items()},
    ],
)
def test_labels_may_be_numbers(content: object, tmp_path: Path) -> None:
    path = tmp_path / "labels.json"
    path.write_text(json.dumps(content))

    assert read_labels(path) == tuple(FOLDERS)


def test_labels_beside_weights_may_be_numbers(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    torch.save({"model": {}, "classes": list(FOLDERS), "class_to_idx": FOLDERS}, path)

    assert read_labels(path) == tuple(FOLDERS)


def test_numbers_that_may_be_either_are_read_by_what_says_which(tmp_path: Path) -> None:
    shuffled = {"0": 0, "1": 1, "10": 2, "2": 3}
    swapped = {"0": "1", "1": "2", "2": "0"}
    for name, content, labels in (
        ("labels.json", shuffled, tuple(shuffled)),
        ("labels.json", {"0": 1, "1": 2, "2": 0}, ("2", "0", "1")),
        ("names.json", swapped, ("1", "2", "0")),
        ("class_to_idx.json", swapped, ("2", "0", "1")),
    ):
        (tmp_path / name).write_text(json.dumps(content))
        assert read_labels(tmp_path / name) == labels
    torch.save({"classes": {0: 1, 1: 2, 2: 0}}, tmp_path / "w.pt")
    with pytest.raises(RecipeError, match=r"numbers for numbers.*in the order of the outputs"):
        read_labels(tmp_path / "w.pt")


@pytest.mark.parametrize(
    "content",
    [
        "path: ../pets\nnc: 3\nnames: [cat, dog, bird]\n",
        "names:\n  0: cat\n  1: dog\n  2: bird\n",
        "names:\n- cat\n- dog\n- bird\n",
        "\ufeffnames: ['cat', \"dog\", bird]\r\n",
    ],
)
@pytest.mark.parametrize("suffix", [".yaml", ".yml"])
def test_data_yaml(content: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"data{suffix}"
    path.write_text(content, encoding="utf-8")

    assert read_labels(path) == PETS


def test_the_words_of_yaml_1_1_are_labels(tmp_path: Path) -> None:
    path = tmp_path / "data.yaml"
    path.write_text("names: [yes, no, on, 1.0, null]\n")

    assert read_labels(path) == ("yes", "no", "on", "1.0", "null")


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {}, "class_to_idx": {"dog": 1, "cat": 0, "bird": 2}},
        {"model": {}, "classes": ["cat", "dog", "bird"]},
        {"model": {}, "meta": {"class_names": ["cat", "dog", "bird"]}},
        {"state_dict": {}, "hyper_parameters": {"names": {0: "cat", 1: "dog", 2: "bird"}}},
        {"model": {}, "id2label": {0: "cat", 1: "dog", 2: "bird"}},
        {"model": {}, "config": {"data": {"class_to_idx": {"dog": 1, "cat": 0, "bird": 2}}}},
        {"state_dict": {}, "meta": {"dataset_meta": {"CLASSES": ("cat", "dog", "bird")}}},
        {"model": {}, "labels": [0, 1, 0, 2, 2], "cfg": {"classes": ["cat", "dog", "bird"]}},
        {"model": {}, "classes": 3, "idx_to_class": {0: "cat", 1: "dog", 2: "bird"}},
        {
            "model": {},
            "classes": ["cat", "dog", "bird"],
            "class_to_idx": {"dog": 1, "cat": 0, "bird": 2},
            "labels": ["of", "something", "else", "that", "is", "longer"],
        },
    ],
)
def test_labels_beside_weights(content: object, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(content, path)

    assert read_labels(path) == PETS


def test_ids_of_the_training_images_are_no_labels(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": {}, "labels": [0, 1, 0, 2, 2], "classes": 3}, path)

    assert checkpoint_labels(path) is None


def test_two_orders_of_labels_beside_weights_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    content = {"classes": ["bird", "cat", "dog"], "class_to_idx": {"dog": 1, "cat": 0, "bird": 2}}
    torch.save({"model": {}, **content}, path)

    with pytest.raises(RecipeError, match=r"class_to_idx and classes .*--labels FILE"):
        read_labels(path)


class Holder:
    """An object of a class of a training, as Ultralytics' networks and Lightning's settings are."""

    def __init__(self, **held: object) -> None:
        vars(self).update(held)


@pytest.mark.parametrize("name", ["a.pt", "a.pth.tar", "a.bin", "weights"])
@pytest.mark.parametrize(
    "content",
    [
        {
            "state_dict": {},
            "args": Namespace(lr=0.1),
            "class_to_idx": {"dog": 1, "cat": 0, "bird": 2},
        },
        {"state_dict": {}, "args": Namespace(classes=["cat", "dog", "bird"])},
        {"epoch": -1, "model": Holder(names={0: "cat", 1: "dog", 2: "bird"})},
        Holder(classes=["cat", "dog", "bird"]),
    ],
)
def test_labels_beside_objects_of_other_classes(content: object, name: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / name)
    assert read_labels(tmp_path / name) == PETS

    with (tmp_path / name).open("wb") as file:
        pickle.dump(content, file)
    assert read_labels(tmp_path / name) == PETS


class Runs:
    """What a malicious pickle is: reading it as Python does would call a function."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.makedirs, ("made-by-a-pickle",)


def test_a_checkpoint_that_runs_code_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"classes": ["cat", "dog", "bird"], "more": Runs()}, "a.pt")
    with pytest.raises(RecipeError, match=r"a\.pt holds none of"):
        read_labels(Path("a.pt"))
    assert [file.name for file in tmp_path.iterdir()] == ["a.pt"]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("names", "{0: 'cat', 1: 'dog', 2: 'bird'}"),
        ("names", '["cat", "dog", "bird"]'),
        ("classes", "cat, dog, bird"),
        ("id2label", '{"0": "cat", "1": "dog", "2": "bird"}'),
        ("label2id", '{"cat": 0, "bird": 2, "dog": 1}'),
        ("Class-Names", "cat,dog,bird"),
        ("class names", "cat\ndog\nbird\n"),
        ("character", "cat\ndog\nbird"),
        ("labels", '"cat,dog,bird"'),
        ("label_list", "['cat', 'dog', 'bird']"),
        ("model_info labels", "cat dog bird"),
        ("config", '{"id2label": {"0": "cat", "1": "dog", "2": "bird"}, "bias": true, "x": null}'),
        ("dataset_meta", "{'classes': ('cat', 'dog', 'bird')}"),
    ],
)
def test_labels_in_the_metadata_of_an_onnx_file(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    model = small_classifier()
    helper.set_model_props(model, {key: value})
    onnx.save(model, path)

    assert read_labels(path) == PETS


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("classes", "3"), ("names", "[]"), ("labels", ""), ("character", " \n"), ("task", "cat")),
        *(("names", '{"1": "cat", "2": "dog"}'), ("config", '{"labels": "labels.txt"}')),
    ],
)
def test_other_metadata_names_no_classes(key: str, value: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    model = small_classifier()
    helper.set_model_props(model, {key: value})
    onnx.save(model, path)

    assert onnx_labels(path) is None
    with pytest.raises(RecipeError, match=r"labels: "):
        read_labels(path)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"cat\n\ndog\n", "line 2 of a.txt is empty"),
        ("a.txt", b"", "holds no label"),
        ("a.txt", b"\xef\xbb\xbf\r\n", "holds no label"),
        ("a.txt", b"\xe9\n", "neither UTF-8 nor UTF-16"),
        ("a.txt", b"cat\n" * 30 + b"\0", "zero bytes"),
        ("a.txt", b"1 cat\n2 dog\n", "numbered from 1"),
        ("a.txt", b"{0: 'cat'", "begins with a bracket"),
        ("a.json", b'["cat",', "not valid JSON"),
        ("a.json", b"[" * 100_000, "not valid JSON"),
        ("a.json", b"[]", "holds no label"),
        ("a.json", b"{}", "neither a list"),
        ("a.json", b'"cat"', "neither a list"),
        ("a.json", b"null", "neither a list"),
        ("a.json", b'["cat", null]', "'None' where a label must be"),
        ("a.json", b'["cat", {"name": "dog"}]', "where a label must be"),
        ("a.json", b'[{"color": "red"}]', "objects without a name"),
        ("a.json", b'{"0": "cat", "0": "dog"}', "the key '0' twice"),
        ("a.json", b'{"cat": 0, "dog": 0}', "'cat' and to 'dog'"),
        ("a.json", b'{"1": "cat", "2": "dog"}', "begin at 1"),
        ("a.json", b'{"0": "cat", "900000": "dog"}', "ids up to 900000"),
        ("a.json", b'{"0": true}', "where a label must be"),
        ("a.json", b'{"cat": "dog"}', "neither a list"),
        ("a.json", b'[{"id": 1, "name": "cat"}, {"id": 90, "name": "dog"}]', "1 to 90"),
        ("a.json", b'[{"id": 1, "name": "cat"}, {"id": 1, "name": "dog"}]', "id 1 twice"),
        ("a.json", b'{"0": ["tench", "goldfish"]}', "where a label must be"),
        ("a.yaml", b"names: [cat", "not valid YAML"),
        ("a.yaml", b"nc: 3\nnames: [cat, dog]", "states nc 3 and 2 names"),
        ("a.yaml", b"train: images", "neither a list"),
        ("a.csv", b"/m/01,cat\n/m/02,dog\n", "several columns"),
        ("a.csv", b"0,cat,red\n1,dog,blue\n", "several columns"),
        ("a.csv", b"name,class\ncat,pet\ndog,pet\n", "several columns"),
        ("a.csv", b"name,place\ncat,2\ndog,1\n", "several columns"),
        ("a.csv", b"0,cat\n1\n", "several columns"),
        ("a.csv", b"id,name\n1,cat\n2,dog\n", "begin at 1"),
        ("a.txt", b"cat,1\ndog,2\n", "numbered from 1"),
        ("a.txt", b"cat 1\ndog 2\n", "give a JSON list"),
        ("a.txt", b"n02119789 1 kit_fox\nn02100735 2 setter\n", "numbered from 1"),
        ("a.txt", b"0,cat\n0,dog\n", "the class id 0 to 'cat' and to 'dog'"),
        ("a.txt", b"10,cat\n90,dog\n", "ids up to 90"),
        ("a.pbtxt", b"item { id: 1 }", "no id or no name"),
        ("a.pbtxt", b"item { name: 'cat' }", "no id or no name"),
        ("a.pbtxt", b"item { id: 1 name: 'cat' } item { id: 1 name: 'dog' }", "id 1 twice"),
        ("a.pbtxt", b"item { id: 700 name: 'cat' }", "ids up to 700"),
        ("a.pbtxt", b"item {", "holds no label"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\noid 1\nsize 2\n", "git lfs pull"),
        ("a.json", b"<!DOCTYPE html><html></html>", "a web page (HTML), not the file itself"),
        ("a.pth", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("a.onnx", b"<html>", "a web page (HTML), not the file itself"),
        ("a.txt", b"\xff\xd8\xff\xe0", "a.txt is a JPEG image. Give a text file"),
        ("a.yaml", b"\x1f\x8b\x08", "a.yaml is a gzip archive. Give a text file"),
        ("a.txt", b"\x80\x02}q\x00.", "a.txt holds none of names"),
        ("a.csv", b"\x08\x0aonnx", "a.csv is an ONNX file. Give a text file"),
        ("a.pth", b"not a checkpoint", "holds none of"),
        ("a.onnx", b"not a network", "names no classes"),
    ],
)
def test_what_is_not_clear_is_refused_in_words(
    name: str, content: bytes, words: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(RecipeError, match="labels: ") as caught:
        read_labels(tmp_path / name)

    assert words in str(caught.value)


def test_a_large_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    with path.open("wb") as file:
        file.truncate(17 * 2**20)

    with pytest.raises(RecipeError, match="Is it the right file"):
        read_labels(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.txt", tmp_path):
        with pytest.raises(RecipeError, match=str(path)):
            read_labels(path)


def test_repeated_labels_are_found() -> None:
    assert repeated_labels(("crane", "heron", "crane", "", "")) == {"crane": [0, 2]}


def test_an_image_that_is_named_as_a_network_is_called_an_image(tmp_path: Path) -> None:
    (tmp_path / "cat.onnx").write_bytes(b"\xff\xd8\xff\xe0" + bytes(99))

    with pytest.raises(RecipeError, match=r"labels: cat\.onnx is a JPEG image"):
        read_labels(tmp_path / "cat.onnx")
