import re
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from service.card import Cost, CutCandidates, Normalization
from service.doctor import describe_host, describe_models
from service.runtime.repository import scan_repository
from service.runtime.session import RUNTIME_VERSION
from tests.hostile_networks import huge_constant
from tests.servables import color_card, color_model, write_servable


@pytest.fixture
def console() -> Console:
    return Console(file=StringIO(), width=200)


def text_of(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def described(console: Console, root: Path, *, prove: bool = False) -> bool:
    return describe_models(console, *scan_repository(root), prove=prove)


def test_a_device_that_works_is_found_and_the_others_say_why_not(console: Console) -> None:
    assert describe_host(console, "cpu", 0)
    text = text_of(console)
    assert RUNTIME_VERSION in text
    assert "FOVEAL_DEVICE=cpu runs on cpu" in text
    assert all(device in text for device in ("cuda", "tensorrt", "openvino"))
    assert "✗" not in text, "a device that nobody wants is no fault"


def test_what_resizes_is_reported(console: Console) -> None:
    describe_host(console, "cpu", 0)
    assert (
        f"Resize {'cykooz-resizer (SIMD)' if find_spec('cykooz_resizer') else 'Pillow'}"
        in text_of(console)
    )


def test_a_device_that_is_wanted_and_does_not_work_is_a_fault(console: Console) -> None:
    assert not describe_host(console, "tensorrt", 99)
    text = text_of(console)
    assert "✗" in text
    assert "FOVEAL_DEVICE=tensorrt does not work here" in text


def test_a_model_has_a_row_with_what_it_is_and_costs(console: Console, repository: Path) -> None:
    assert described(console, repository)
    row = next(line for line in text_of(console).splitlines() if "colors" in line)
    assert row.split() == [
        *("✓", "colors", "v1", "classify", "8×8", "stretch", "3", "1", "k", "1", "fp32"),
        *("top1", "1.000", "on", "1", "images,", "Δ", "0.0e+00"),
    ]


@pytest.mark.parametrize(
    ("count", "words"),
    [(999, "999"), (1000, "1 k"), (1234, "1.23 k"), (5_000_000, "5 M"), (4_100_000_000, "4.1 G")],
)
def test_large_numbers_are_written_short(
    console: Console, tmp_path: Path, count: int, words: str
) -> None:
    cost = Cost(parameters=7, macs=count, activation_bytes=0)
    write_servable(tmp_path, card=color_card().model_copy(update={"cost": cost}))
    assert described(console, tmp_path)
    assert re.search(rf"stretch +3 +{re.escape(words)} +7 ", text_of(console))


@pytest.mark.parametrize(("labels", "shown"), [(("red", "", ""), "1"), (("", "", ""), "–")])
def test_labels_that_mean_nothing_are_not_counted(
    console: Console, tmp_path: Path, labels: tuple[str, ...], shown: str
) -> None:
    write_servable(tmp_path, card=color_card().model_copy(update={"labels": labels}))
    assert described(console, tmp_path)
    assert f"stretch  {shown} " in text_of(console)


def test_a_graph_that_was_changed_after_its_proof_is_a_fault_where_it_is_checked(
    console: Console, repository: Path
) -> None:
    path = repository / "colors" / "1" / "model.onnx"
    model = color_model()
    model.graph.name = "changed"
    card = scan_repository(repository)[0][0].card
    model.metadata_props.add(key="foveal.card", value=card.model_dump_json())
    path.write_bytes(model.SerializeToString())
    assert described(console, repository)
    assert not described(console, repository, prove=True)
    assert "export it again" in text_of(console)


def test_a_graph_that_asks_for_too_much_is_a_fault_where_it_is_checked(
    console: Console, tmp_path: Path
) -> None:
    write_servable(tmp_path, model=huge_constant())
    assert described(console, tmp_path)
    assert not described(console, tmp_path, prove=True)
    assert "takes at least 68719476736 bytes" in " ".join(text_of(console).split())


def test_a_file_that_is_refused_is_a_fault_with_its_reason(
    console: Console, repository: Path
) -> None:
    other = repository / "found" / "1" / "model.onnx"
    other.parent.mkdir(parents=True)
    other.write_bytes(color_model().SerializeToString())
    assert not described(console, repository)
    assert "carries no card" in text_of(console)


def test_an_empty_repository_says_what_to_do(console: Console, tmp_path: Path) -> None:
    assert described(console, tmp_path)
    assert "Make a servable with foveal-export" in text_of(console)


def test_pixel_values_that_were_assumed_are_reported_and_are_no_fault(
    console: Console, tmp_path: Path
) -> None:
    stated = Normalization(scale=1 / 255, mean=(0.5, 0.4, 0.3), std=(1, 1, 1), color="rgb")
    for name, assumed in {"sure": (), "unsure": ("mean", "std")}.items():
        normalization = stated.model_copy(update={"assumed": assumed})
        card = color_card().model_copy(update={"name": name, "normalization": normalization})
        write_servable(tmp_path, name, card=card)

    assert described(console, tmp_path)

    (line,) = (line for line in text_of(console).splitlines() if "assumed" in line)
    assert "unsure v1: mean 0.5, 0.4, 0.3 and std 1 are assumed" in line


def test_what_crowds_may_lose_is_reported_and_is_no_fault(console: Console, tmp_path: Path) -> None:
    for name, cut in {"calm": None, "crowded": CutCandidates(images=3, of=70, below=0.2)}.items():
        card = color_card().model_copy(update={"name": name, "cut": cut})
        write_servable(tmp_path, name, card=card)

    assert described(console, tmp_path)

    (line,) = (line for line in text_of(console).splitlines() if "crowds" in line)
    assert "crowded v1: on 3 of 70 images" in line
