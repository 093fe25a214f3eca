"""A key twice in one object is refused, whatever stands around it."""

import json

import pytest
from pydantic_core import from_json

from service.api.ingest.images import parse_json
from service.api.ingest.json_keys import require_unique_keys
from service.api.ingest.json_object import read_object
from service.api.ingest.numbers import read_json
from service.errors import MalformedJsonError


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 1}', "'a'"),
        ('{"a": 1, "\\u0061": 2}', "'a'"),
        ('{"b": {"a": 1, "a": {}}, "c": "::"}', "'a'"),
        ('[[{"": 0, "x": ":", "": 0}]]', "''"),
        ('{"a:b": 1, "c": 2, "a:b": 3}', "'a:b'"),
        ('{"\\"": 1, "\\"": 3}', "'\"'"),
        ('{"n": 123, "n": 1e999}'.replace("123", "9" * 4000), "'n'"),
        ('{"x": 1, "x": 2}'.replace("x", "k" * 500), f"'{'k' * 60}…'"),
    ],
    ids=range(8),
)
def test_a_key_twice_in_one_object_is_refused_and_named(text: str, key: str) -> None:
    with pytest.raises(MalformedJsonError) as caught:
        require_unique_keys(text.encode(), from_json(text))
    assert f"has the key {key} twice" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '[{"a": 1}, {"a": 1}, {"b": {"a": {"a": 1}}}]',
        '{"a": "b: c", "u:r:l": "http://host:80/"}',
        r'{"a\"": "\\", "b": ":\":", "c": ["\\\":"]}',
        '{"é:": "\U0001f600:"}',
        "3",
    ],
)
def test_the_same_key_in_other_objects_and_colons_in_strings_are_fine(text: str) -> None:
    require_unique_keys(text.encode(), from_json(text))


def test_every_small_body_is_read_by_this_rule() -> None:
    with pytest.raises(MalformedJsonError, match=r"'a' twice"):
        read_object(b'{"a": 1, "a": 2}', 9, "{}")
    tensor = '{"name": "x", "shape": [1], "datatype": "UINT8", "data": [1], "data": [2]}'
    with pytest.raises(MalformedJsonError, match=r"'data' twice"):
        read_json(f'{{"inputs": [{tensor}]}}'.encode(), most_rows=9, max_depth=9)
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        with pytest.raises(MalformedJsonError, match=r"'images' twice"):
            parse_json('{"images": ["aGk="], "images": ["aGk="]}'.encode(encoding), 4)
    data_url = {"images": ["data:image/png;base64,aGk="]}
    assert parse_json(json.dumps(data_url).encode(), 4) == [b"hi"]
