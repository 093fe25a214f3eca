"""What the system says of the processor."""

from pathlib import Path

from service.runtime.chip import Chip, this_chip


def chip_of(path: Path, text: str) -> Chip:
    file = path / "cpuinfo"
    file.write_text(text)
    return this_chip(file)


def test_the_name_and_the_instructions_that_matter_are_those_of_the_first_core(
    tmp_path: Path,
) -> None:
    text = "processor : 0\nmodel name\t: A Processor @ 2 GHz\nflags\t\t: fpu amx_bf16 avx2 sse\n"
    found = chip_of(tmp_path, text + "\nprocessor : 1\nmodel name : B\nflags : fpu\n")
    assert found == Chip("A Processor @ 2 GHz", ("amx_bf16", "avx2"))
    assert found.has_bf16
    assert str(found) == "A Processor @ 2 GHz (amx_bf16, avx2)"


def test_arm_names_its_instructions_otherwise(tmp_path: Path) -> None:
    found = chip_of(tmp_path, "processor : 0\nFeatures : fp asimd asimddp i8mm\n")
    assert found.instructions == ("asimddp", "i8mm")
    assert not found.has_bf16


def test_a_system_that_states_nothing_has_a_name_all_the_same(tmp_path: Path) -> None:
    found = this_chip(tmp_path / "nothing")
    assert found.name
    assert found.instructions == ()
