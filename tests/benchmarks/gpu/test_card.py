"""The GPU's name where NVIDIA's Python package is missing."""

from pathlib import Path

from benchmarks.gpu.card import name_in

INFORMATION = """\
Model: \t\t NVIDIA H100 80GB HBM3
IRQ:   \t\t 123
GPU UUID: \t GPU-0a:1b
"""


def test_the_driver_states_the_name_of_each_card(tmp_path: Path) -> None:
    for slot, text in (("0000:1b", INFORMATION), ("0000:9c", "Model: NVIDIA L4\n")):
        (tmp_path / "gpus" / slot).mkdir(parents=True)
        (tmp_path / "gpus" / slot / "information").write_text(text)

    assert name_in(tmp_path) == "NVIDIA H100 80GB HBM3"
    assert name_in(tmp_path, 1) == "NVIDIA L4"
    assert not name_in(tmp_path, 2)


def test_without_a_driver_there_is_no_name(tmp_path: Path) -> None:
    assert not name_in(tmp_path)
