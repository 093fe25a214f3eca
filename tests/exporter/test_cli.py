"""The command line: what it shows, and what it refuses."""

import os
import pty
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch

from exporter.cli import main
from exporter.foreign_options import FOREIGN
from exporter.options import recipe_options, shown_name
from service.servable_file import check_certificate, read_card
from tests.exporter.nets import SIDE, conv_onnx

ROOT = Path(__file__).parents[2]
PLACES = (SIDE // 8) ** 2


@pytest.fixture
def servable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A servable that the command line made from an ONNX file of another tool."""
    monkeypatch.chdir(tmp_path)
    onnx.save(conv_onnx([-1, 4 * PLACES]), "net.onnx")
    Path("labels.txt").write_text("thing\n" * 4 * PLACES)
    words = "onnx:net.onnx --task classify --name net --labels labels.txt"
    run(*words.split())
    return tmp_path / "models/net/1/model.onnx"


def run(*words: str) -> int:
    """Run the command line and return its exit code."""
    with pytest.raises(SystemExit) as stopped:
        main(words)
    return int(stopped.value.code or 0)


@pytest.mark.parametrize(
    "source",
    ["torchvision:", "timm:", "python:", "program:", "torchscript:", "onnx:", "recipe.toml"],
)
def test_help_has_an_example_of_each_source(
    source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--help") == 0
    assert f"foveal-export {source}" in capsys.readouterr().out.replace("models/lenet5/", "")


def test_help_and_inspection_load_no_pytorch(servable: Path) -> None:
    code = (
        "import sys; from exporter.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: print('torch' in sys.modules)"
    )
    for words in (["--help"], ["inspect", str(servable)]):
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        assert done.stdout.splitlines()[-1] == "False"


def test_an_export_writes_servable_and_recipe_and_the_recipe_makes_it_again(
    servable: Path,
) -> None:
    first = read_card(servable)
    servable.unlink()

    assert run(str(servable.with_name("recipe.toml"))) == 0

    assert read_card(servable).certificate.graph_sha256 == first.certificate.graph_sha256


@pytest.mark.parametrize("options", ["--precision fp16,fp32", "--precision fp16 --precision fp32"])
def test_of_several_precisions_the_first_that_holds_is_written(
    options: str, servable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = f"onnx:net.onnx --task classify --name half --labels labels.txt {options}"
    assert run(*words.split()) == 0

    shown = capsys.readouterr().out.splitlines()
    assert read_card(servable.parents[2] / "half/1/model.onnx").precision == "fp16"
    rows = [line.split("│") for line in shown if "fp" in line and "ms" in line]
    assert [("fp16" in row[1], "written" in row[-2]) for row in rows] == [
        (False, False),
        (True, True),
    ]


def test_a_second_export_is_the_next_version(servable: Path) -> None:
    words = "onnx:net.onnx --task classify --name net --labels labels.txt"
    assert run(*words.split()) == 0
    assert (servable.parents[1] / "2/model.onnx").exists()


def test_inspect_shows_card_inputs_outputs_and_cost(
    servable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", str(servable)) == 0
    shown = capsys.readouterr().out
    for part in ("classify, 64 labels", "image", "logits", "to stage_1", "█"):
        assert part in shown


def test_inspect_shows_a_file_without_a_card_and_how_to_adopt_it(
    servable: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("inspect", str(servable.parents[3] / "net.onnx")) == 0
    assert "carries no card" in capsys.readouterr().out


def test_labels_are_edited_and_the_graph_stays(servable: Path) -> None:
    before = read_card(servable)
    Path("better.txt").write_text("\n".join(f"thing {n}" for n in range(4 * PLACES)))

    assert run("card", str(servable), "--set", "labels=better.txt", "--set", "title=Things") == 0

    after = read_card(servable)
    check_certificate(servable, after)
    assert (after.labels[1], after.title) == ("thing 1", "Things")
    assert after.certificate == before.certificate


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("labels=a,b", "2 are given, the network has 64"),
        ("task=detect", "write FIELD=VALUE"),
        ("scores=high", "this is not JSON"),
    ],
)
def test_a_card_refuses_what_does_not_fit(
    servable: Path, change: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = servable.read_bytes()
    assert run("card", str(servable), "--set", change) == 1
    assert message in capsys.readouterr().out
    assert servable.read_bytes() == before


def test_an_error_names_the_file_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("onnx:none.onnx", "--task", "classify", "--name", "net") == 1
    assert "there is no file none.onnx" in capsys.readouterr().out
    assert not (tmp_path / "models").exists()


def test_a_missing_extra_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "exporter.export", None)
    assert run("timm:vit_tiny_patch16_224", "--task", "classify", "--name", "vit") == 1
    assert "`make export` installs it" in " ".join(capsys.readouterr().out.split())


def test_a_file_alone_is_enough_where_it_states_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    onnx.save(conv_onnx([-1, 4 * PLACES]), "net.onnx")
    Path("labels.txt").write_text("".join(f"thing {index}\n" for index in range(4 * PLACES)))

    assert run("net.onnx") == 0

    shown = capsys.readouterr().out
    assert "--task classify   one output" in shown
    assert "--labels labels.txt" in shown
    assert shown.index("--labels labels.txt") < shown.index("Load PyTorch …")
    card = read_card(tmp_path / "models/net/1/model.onnx")
    assert (card.task, card.labels[:2]) == ("classify", ("thing 0", "thing 1"))


@pytest.mark.parametrize("words", ["net.onnx --explain", "--explain net.onnx"])
def test_an_explanation_says_where_values_come_from_and_writes_nothing(
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    onnx.save(conv_onnx([-1, 4 * PLACES]), "net.onnx")
    Path("labels.txt").write_text("thing\n" * 4 * PLACES)

    assert run(*words.split(), "--mean", "0.5") == 0

    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert any(line.startswith("│ mean │ 0.5, 0.5, 0.5 │ --mean") for line in lines)
    assert any("│ std │ 1, 1, 1 │ default: onnx does not state it" in line for line in lines)
    assert any(line.startswith(f"│ input │ {SIDE}×{SIDE}") for line in lines)
    assert any("labels: classes 0, 1, 2, 3, 4 are all 'thing'" in line for line in lines)
    assert not (tmp_path / "models").exists()


def test_what_is_not_stated_is_refused_before_pytorch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys; from exporter.cli import main\n"
        "for words in sys.argv[1:]:\n"
        "    try: main(words.split())\n"
        "    except SystemExit as stop: print(stop.code, 'torch' in sys.modules)\n"
        "    print('next')"
    )
    onnx.save(conv_onnx([-1, 4 * PLACES]), tmp_path / "net.onnx")
    (tmp_path / "three.txt").write_text("a\nb\nc\n")
    (tmp_path / "all.txt").write_text("thing\n" * 4 * PLACES)
    torch.save({"classes": ["a", "b"]}, tmp_path / "net.pth")
    messages = {
        "net.onnx": "Add --labels FILE",
        "python:my.nets:Cats": "Add --task classify|segment|detect|embed --weights FILE",
        "net.onnx --labels three.txt": f"3 are given, the network has {4 * PLACES} classes",
        "net.onnx --labels none.txt": "labels 'none.txt': there is no file none.txt",
        "net.onnx --labels all.txt --height 8": "--height 8: the file fixes the height",
        "net.onnx --labels all.txt --models /proc/x": "/proc/x/net/1/model.onnx can not be written in /proc",
        "net.onnx --labels net.pth --models net.pth": "net.pth is a file, not a folder",
        "timm:resnet18 --weights net.pth --images none": "none: there is no such folder",
        "timm:resnet18 --weights net.pth --height 0": "--height: 0 is less than",
        "python:my:Cats --weights net.pth --task classify --height 8 --width 8 --code no": "no: there is no such",
    }
    done = subprocess.run(
        [sys.executable, "-c", code, *messages],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "300"},
    )
    *answers, _ = done.stdout.split("next\n")
    for message, answer in zip(messages.values(), answers, strict=True):
        assert message in answer
        assert answer.splitlines()[-1] == "1 False"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--mean 0.485 0.456 0.406",
            "--mean: 0.485 0.456 0.406 are several words. Write --mean 0.485,0.456,0.406",
        ),
        ("--std 1, 1, 2", "Write --std 1,1,2"),
        (
            "--height 224x112",
            "--height: 224x112 is no number of pixels. Write --height 224 --width 112",
        ),
    ],
)
def test_numbers_that_no_option_reads_so_are_shown_as_they_are_written(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert run("net.onnx", *words.split(), "--name", "net") == 1
    assert message in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--num-classes 3", "There is no option --num-classes. Write --arg num_classes=3"),
        ("--num_classes=3", "Write --arg num_classes=3"),
        ("--imgsz 224", "There is no option --imgsz. Write --height 224 --width 224"),
        ("--img-size large", "Write --height N --width N"),
        ("-o x.onnx", "Write --models FOLDER --name NAME, which write FOLDER/NAME/1/model.onnx"),
    ],
)
def test_options_of_other_tools_are_answered_with_ours(
    capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    assert run("net.onnx", *words.split()) == 1
    assert message in " ".join(capsys.readouterr().out.split())


def test_no_option_of_an_export_is_taken_for_another_tool_s() -> None:
    own = {f"--{option.name}" for option in recipe_options()}
    assert own.isdisjoint(FOREIGN)
    assert all(shown_name(name.lstrip("-")) == name.lstrip("-") for name in FOREIGN)


def test_a_terminal_gets_the_questions(tmp_path: Path) -> None:
    onnx.save(conv_onnx([-1, 4 * PLACES]), tmp_path / "net.onnx")
    (tmp_path / "mine.txt").write_text("thing\n" * 4 * PLACES)
    terminal, other = pty.openpty()
    command = [sys.executable, "-m", "exporter.cli", "net.onnx", "--explain"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "200"}
    with subprocess.Popen(
        command, stdin=other, stdout=other, stderr=other, cwd=tmp_path, env=env
    ) as process:
        os.close(other)
        os.write(terminal, b"mine.txt\n")
        shown = b"".join(iter(lambda: read_or_end(terminal), b"")).decode()
    os.close(terminal)

    assert process.returncode == 0, shown
    assert "Which file has the names of its classes?" in shown
    assert "What the export would do" in shown


def read_or_end(terminal: int) -> bytes:
    """Return more of what a terminal shows, nothing at its end, which Linux reports as an error."""
    try:
        return os.read(terminal, 4096)
    except OSError:
        return b""
