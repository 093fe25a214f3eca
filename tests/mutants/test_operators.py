import ast

import pytest

from mutants.operators import mutants_of, mutated


def changes(source: str) -> list[str]:
    """Return what becomes of the code, a line a mutant."""
    return [mutant.after for mutant in mutants_of("m.py", source)]


@pytest.mark.parametrize(
    ("source", "after"),
    [
        ("a < b", ["a <= b", "a >= b"]),
        ("a is not b", ["a is b"]),
        ("a < b in c", ["a <= b in c", "a >= b in c", "a < b not in c"]),
        ("a + b", ["a - b"]),
        ("a and b", ["a or b"]),
        ("not a", ["not a"]),
        ("-a", ["-a"]),
        ("True", ["False"]),
        ("7", ["8"]),
        ("0.5", ["1.0"]),
        ("0.0", ["1.0"]),
        ("a == 'x'", ["a != 'x'", "'not x'"]),
        ("{'x': a}", ["'not x'"]),
        ("{'x'}", ["'not x'"]),
        ("x = max(a, b)", ["min(a, b)"]),
        ("x = np.minimum(a, b)", ["np.maximum(a, b)"]),
        ("a if b else c", ["not b"]),
        ("a += b", ["pass", "a -= b"]),
        ("f(a)", ["pass"]),
        ("a.b = c", ["pass"]),
        ("if a:\n    raise E('x' + b)", ["not a", "pass"]),
        ("while a:\n    break", ["not a", "pass"]),
    ],
)
def test_a_change_of_every_kind_is_made(source: str, after: list[str]) -> None:
    assert changes(source) == after


@pytest.mark.parametrize(
    "source",
    [
        "'''A docstring.'''",
        "a = b",
        "x: Literal['a', 3] = b",
        "def f(a: int | None) -> 'x': return a",
        "@dataclass(frozen=True)\nclass A(Base[3]): b: int",
        "assert a < b",
        "logger.info('x')",
        "f('x')[a]",
        "try:\n    a = b\nexcept E:\n    pass",
    ],
)
def test_what_tests_need_not_notice_stays(source: str) -> None:
    assert changes(source) == []


def test_a_mutant_differs_from_its_module_in_the_place_that_it_names() -> None:
    source = "def f(a):\n    if a < 3:\n        return 1\n    return a\n"
    for mutant in mutants_of("m.py", source):
        made = ast.unparse(mutated(source, mutant.number))
        lines = [
            pair
            for pair in zip(source.splitlines(), made.splitlines(), strict=True)
            if pair[0] != pair[1]
        ]
        assert [source.splitlines().index(old) + 1 for old, _ in lines] == [mutant.line]
        assert mutant.before in lines[0][0]
        assert mutant.after in lines[0][1]
    assert [mutant.number for mutant in mutants_of("m.py", source)] == list(range(4))
