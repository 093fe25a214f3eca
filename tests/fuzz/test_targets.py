"""Each fuzzing target, from valid inputs that hypothesis changes: the same examples in every run."""

import warnings
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import SEEDS, seeds_of
from tests.fuzz.targets import TARGETS

EXAMPLES = {"image": 250, "video": 100}
"""Examples of slow targets; others have `MANY`."""
MANY = 200
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)

Edit = tuple[str, float, int]
"""What is done, where (0–1 of the length), and with which number."""
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "byte", "word", "long", "cut", "hole", "double"]),
        st.floats(0, 1, allow_subnormal=False) | st.floats(0, 0.02, allow_subnormal=False),
        st.integers(0, 2**32 - 1) | st.sampled_from(EXTREMES),
    ),
    min_size=1,
    max_size=5,
)


def edited(body: bytes, edits: Sequence[Edit]) -> bytes:
    """Return a body with these changes; none makes it more than twice as long."""
    data = bytearray(body)
    for what, place, number in edits:
        at = min(int(place * len(data)), max(0, len(data) - 1))
        if what == "flip" and data:
            data[at] ^= 1 << number % 8
        elif what == "cut":
            del data[at:]
        elif what == "hole":
            del data[at : at + number % 64]
        elif what == "double":
            data[at:at] = data[at : at + number % 4096]
        elif what in {"byte", "word", "long"}:
            size = {"byte": 1, "word": 2, "long": 4}[what]
            order = "little" if number & 1 << 31 else "big"
            data[at : at + size] = (number % 256**size).to_bytes(size, order)
    return bytes(data)


@pytest.mark.parametrize("target", TARGETS)
def test_most_seeds_are_read(target: str) -> None:
    """The rest are damaged files of `tests/data`."""
    read = [TARGETS[target](body) for body in seeds_of(target)]

    assert sum(read) >= 0.7 * len(read), read


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("target", TARGETS)
def test_changed_input_gives_a_result_or_an_error_of_ours(target: str) -> None:
    @settings(
        max_examples=EXAMPLES.get(target, MANY), deadline=None, derandomize=True, database=None
    )
    @given(st.sampled_from(range(len(seeds_of(target)))), EDITS)
    def examples(number: int, edits: list[Edit]) -> None:
        with warnings.catch_warnings(action="ignore"):  # Pillow warns of what it reads all the same
            TARGETS[target](edited(seeds_of(target)[number], edits))

    examples()


def test_every_target_has_seeds() -> None:
    assert SEEDS.keys() == TARGETS.keys()
    assert all(len(seeds_of(target)) for target in TARGETS)
