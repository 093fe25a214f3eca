"""Files that are chains, and files that are none: the message names the field."""

import os
from pathlib import Path

import pytest

from service.chains.definition import parse_chain
from service.chains.repository import MOST_BYTES, scan_chains
from service.errors import ConfigurationError
from service.tasks.tasks import TASKS

FIRST = '[[steps]]\nname = "find"\ntask = "detect"\nmodel = "d"\n'
SECOND = '[[steps]]\nname = "read"\ntask = "classify"\nmodel = "c"\n'
THIRD = '[[steps]]\nname = "look"\ntask = "embed"\nmodel = "e"\n'


def test_a_chain_of_three_steps_is_a_tree() -> None:
    text = f'title = "T"\n{FIRST}options = {{ score_threshold = 0.6 }}\n{SECOND}margin = 0.1\n{THIRD}of = "find"\n'
    chain = parse_chain("c", text, TASKS)
    assert (chain.name, chain.title) == ("c", "T")
    assert [one.stated.name for one in chain.first.followers] == ["read", "look"]
    assert chain.first.options.model_dump()["score_threshold"] == 0.6
    nested = SECOND.replace("classify", "segment")
    chain = parse_chain("c", FIRST + nested + THIRD, TASKS)
    (second,) = chain.first.followers
    assert [one.stated.name for one in second.followers] == ["look"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "steps: is missing"),
        ("steps", "it is not TOML"),
        ("steps = 3", "steps: input should be a valid tuple"),
        (FIRST, "steps: tuple should have at least 2 items"),
        (FIRST + SECOND + THIRD + THIRD.replace("look", "four"), "steps: tuple should have at most 3"),
        (FIRST + SECOND + "size = 3", "steps.1.size: there is no such field"),
        (f"kind = 1\n{FIRST}{SECOND}", "kind: there is no such field"),
        (FIRST + SECOND + "margin = -1", "steps.1.margin: input should be greater than or equal"),
        (FIRST + SECOND + "margin = nan", "steps.1.margin"),
        (FIRST + SECOND + "max_boxes = 0", "steps.1.max_boxes"),
        (FIRST + SECOND + "max_boxes = 301", "steps.1.max_boxes"),
        (FIRST + SECOND + "min_side = 2", "steps.1.min_side"),
        (FIRST + SECOND + "background = 'blue'", "steps.1.background: input should be 'keep' or 'mean'"),
        (FIRST + SECOND.replace("read", "find"), "steps.1.name: 'find' is the name of another step"),
        (FIRST + SECOND.replace("read", "Read it"), "steps.1.name"),
        (FIRST + SECOND.replace("classify", "paint"), "steps.1.task: 'paint' is no task that takes images. Tasks: c"),
        (FIRST + SECOND.replace("classify", "temporal"), "steps.1.task: 'temporal' is no task that takes images"),
        (FIRST + SECOND.replace('model = "c"', ""), "steps.1.model: is missing"),
        (FIRST + "margin = 0.1\n" + SECOND, "steps.0.margin: the first step sees the whole image"),
        (FIRST + 'of = "read"\n' + SECOND, "steps.0.of: the first step sees the whole image"),
        (FIRST + SECOND + 'of = "read"', "steps.1.of: 'read' does not come before it. read can crop boxes of: find"),
        (FIRST + SECOND + 'of = "look"\n' + THIRD, "steps.1.of: 'look' does not come before it"),
        (FIRST + SECOND + 'of = "nobody"', "steps.1.of: 'nobody' is no step"),
        (FIRST + SECOND + THIRD, "steps.2.of: read does classify, which finds no boxes. Tasks that do: segment"),
        (SECOND + THIRD, "steps.1.of: read does classify, which finds no boxes"),
        (FIRST + "options = { nms = 3 }\n" + SECOND, "steps.0.options.nms: input should be"),
        (FIRST + "options = { color = 3 }\n" + SECOND, "steps.0.options.color: there is no such field"),
        (FIRST + "boxes = { join_classes = true }\n" + SECOND, "steps.0.boxes.join_classes: there is no such field"),
        (FIRST + SECOND + "boxes = { a = 1 }", "steps.1.boxes: no step crops the boxes of read"),
        (FIRST + SECOND.replace("classify", "detect") + "max_boxes = 100\n" + THIRD,
         "steps.2.max_boxes: an image could become 3300 crops"),
    ],
)  # fmt: skip
def test_what_is_no_chain_is_named(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_chain("c", text, TASKS)
    assert message in str(caught.value)


def test_files_that_are_no_chains_keep_no_other_from_being_read(tmp_path: Path) -> None:
    texts = {
        "good": (FIRST + SECOND).encode(),
        "Bad Name": (FIRST + SECOND).encode(),
        "taken": (FIRST + SECOND).encode(),
        "broken": b"[[steps",
        "latin": (FIRST + SECOND + "# \xe9").encode("latin-1"),
        "large": b"#" * (MOST_BYTES + 1),
    }
    for name, content in texts.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "chain.toml").write_bytes(content)
    (tmp_path / "folder" / "chain.toml").mkdir(parents=True)
    (tmp_path / "link").mkdir()
    (tmp_path / "link" / "chain.toml").symlink_to(tmp_path / "nowhere")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / "chain.toml")
    chains, refusals = scan_chains(tmp_path, TASKS, {"taken"})
    assert list(chains) == ["good"]
    reasons = {one.name: one.reason for one in refusals}
    assert set(reasons) == {*texts, "folder", "link", "pipe"} ^ {"good"}
    assert "not a regular file" in reasons["pipe"]
    assert "can not name a chain" in reasons["Bad Name"]
    assert "is the name of a model" in reasons["taken"]
    assert "it is not TOML" in reasons["broken"]
    assert "it is not UTF-8" in reasons["latin"]
    assert "it has more than" in reasons["large"]
    assert all(str(tmp_path) in one and "chain.toml" in one for one in reasons.values())
