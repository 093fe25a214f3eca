"""Errors as responses: RFC 9457 problems with a stable code."""

import json
from errno import EMFILE

import pytest

from service.api.error_forms import error_response
from service.api.errors import error_of_fault, invalid_parameters, problem
from service.api.record import RECORD_KEY, RequestRecord
from service.bounded_thread import NO_THREAD
from service.errors import (
    BodyTooLargeError,
    OverloadedError,
    UnsupportedEncodingError,
    WrongTaskError,
    error_types,
)


def test_an_error_becomes_a_problem_with_its_code_detail_and_request_id() -> None:
    response = problem(WrongTaskError("lenet5 classifies."), "id-1")
    assert response.status_code == 422
    assert response.media_type == "application/problem+json"
    assert json.loads(bytes(response.body)) == {
        "type": "about:blank",
        "title": "Wrong task",
        "status": 422,
        "code": "wrong_task",
        "detail": "lenet5 classifies.",
        "request_id": "id-1",
    }
    assert "retry-after" not in response.headers
    assert "connection" not in response.headers


def test_a_client_that_may_try_again_learns_when() -> None:
    assert problem(OverloadedError("Full."), "id").headers["retry-after"] == "1"


def test_the_connection_of_a_body_that_is_too_large_is_closed() -> None:
    assert problem(BodyTooLargeError("Large."), "id").headers["connection"] == "close"


def test_a_coding_that_is_not_understood_is_answered_with_those_that_are() -> None:
    headers = problem(UnsupportedEncodingError("br."), "id").headers
    assert headers["accept-encoding"] == "gzip, deflate"


def test_a_fault_shows_nothing_of_its_inside_and_is_recorded() -> None:
    record = RequestRecord("id-2")
    scope = {"path": "/v1/classify", RECORD_KEY: record}
    body = json.loads(bytes(error_response(error_of_fault(KeyError("inside")), scope).body))
    assert (body["code"], body["request_id"]) == ("internal_error", "id-2")
    assert record.error_code == "internal_error"


@pytest.mark.parametrize(
    "fault", [MemoryError(), OSError(EMFILE, "Too many open files"), RuntimeError(NO_THREAD)]
)
def test_a_shortage_of_memory_threads_or_files_can_be_tried_again(fault: Exception) -> None:
    error = error_of_fault(fault)
    assert (error.status, error.code) == (503, "unavailable")
    assert problem(error, "id").headers["retry-after"] == "1"
    assert error_of_fault(RuntimeError("another")).status == 500


def test_every_invalid_parameter_is_named_with_what_was_sent() -> None:
    faults = [
        {"loc": ("query", "top_k"), "msg": "Input should be above 0", "input": "0"},
        {"loc": ("header", "box", 1), "msg": "Field required"},
        {"loc": ("query",), "msg": "Extra", "input": 1},
    ]
    assert str(invalid_parameters(faults)) == (
        "top_k: input should be above 0, not '0'; box.1: field required, not None; query: extra, not 1"
    )


def test_an_invalid_parameter_is_repeated_in_part_and_a_missing_one_without_all_others() -> None:
    faults = [
        {"loc": ("query", "x" * 99), "msg": "Extra", "input": "y" * 99, "type": "extra"},
        {"loc": ("query", "view"), "msg": "Field required", "input": {"a": "1"}, "type": "missing"},
    ]
    assert str(invalid_parameters(faults)) == (
        f"{'x' * 40}: extra, not '{'y' * 59}…; view: field required"
    )


def test_every_error_has_a_code_a_title_and_a_status_of_an_error() -> None:
    for kind in error_types():
        assert kind.code
        assert kind.title
        assert 400 <= kind.status < 600
