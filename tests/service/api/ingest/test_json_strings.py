"""Where strings of JSON end. The truth is Python's own parser."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.ingest.json_strings import string_end, without_strings


@given(st.text(), st.text())
def test_a_string_ends_where_pythons_parser_says(text: str, rest: str) -> None:
    body = json.dumps(text)
    _, end = json.JSONDecoder().raw_decode(body)
    assert string_end((body + rest).encode(), 0) == len(body[:end].encode())


@pytest.mark.parametrize("text", [b'"', b'"a', b'"a\\"', b'"\\', b'"\\\\\\"'])
def test_a_string_without_an_end_ends_with_the_text(text: bytes) -> None:
    assert string_end(text, 0) == len(text)


@given(st.lists(st.text()), st.dictionaries(st.text(), st.text()))
def test_only_what_is_no_string_is_left(texts: list[str], named: dict[str, str]) -> None:
    found = without_strings(json.dumps([texts, named]).encode())
    wanted = json.dumps([[0 for _ in texts], {str(n): 0 for n, _ in enumerate(named)}])
    for digit in "0123456789":
        wanted = wanted.replace(digit, "")
    assert found.decode() == wanted.replace('"', "")
