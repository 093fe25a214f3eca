import pytest

from service.api.ingest.json_depth import is_deeper


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


@pytest.mark.parametrize("most", [2, 3, 200])
@pytest.mark.parametrize("frame", ['{"x":%s}', '[{}, [%s], "[[[["]', "[%s, 1]"])
def test_json_has_so_many_levels_and_not_one_more(most: int, frame: str) -> None:
    around = {'{"x":%s}': 1, "[%s, 1]": 1}.get(frame, 2)
    allowed, above = ((frame % nested(depth - around)).encode() for depth in (most, most + 1))
    for commas in (allowed.count(b","), 2):
        assert not is_deeper(allowed, most, commas)
    assert is_deeper(above, most, above.count(b","))


@pytest.mark.parametrize(
    "text",
    ['{"x": "[[[[[[[["}', r'{"x": "a\"[[[[[[[[\\"}', '["[[[[", "{{{{{{"]', '{"x": "[[[[[[[['],
)
def test_brackets_within_text_are_no_levels(text: str) -> None:
    assert not is_deeper(text.encode(), 2, 20)


def test_more_brackets_than_such_json_can_have_are_refused_though_flat() -> None:
    """A list or object is the first in another one, or stands behind a comma."""
    assert not is_deeper(b"[]" * 200, 200, 0)
    assert is_deeper(b"[]" * 201, 200, 0)


def test_more_strings_than_such_json_can_have_are_refused_though_flat() -> None:
    """Sixteen million of them took a parser's thread, and every other one, for seconds."""
    brackets = b'"' + b"[" * 300 + b'"'
    assert is_deeper(b'{"images":[' + b'""' * 10_000 + brackets + b"]}", 200, 0)
    assert not is_deeper(b'{"images":[' + b'"",' * 100 + brackets + b"]}", 200, 100)
