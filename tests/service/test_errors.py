import re
from pathlib import Path

import pytest

from service import errors
from service.errors import (
    ConfigurationError,
    FovealError,
    QueueShareError,
    StuckError,
    UnavailableError,
    error_types,
    for_clients,
)

KINDS = error_types()
SENT = [kind for kind in KINDS if not issubclass(kind, ConfigurationError)]


def test_the_tree_is_drawn_whole_at_its_top() -> None:
    drawn = re.findall(r"\b\w+Error\b", errors.__doc__ or "")
    assert sorted(drawn) == sorted(kind.__name__ for kind in KINDS)


def test_every_error_is_listed_once_behind_its_parent() -> None:
    assert KINDS[0] is FovealError
    assert len(set(KINDS)) == len(KINDS)
    assert all(KINDS.index(kind.__mro__[1]) < KINDS.index(kind) for kind in KINDS[1:])


def test_every_error_has_a_code_and_a_title_of_its_own() -> None:
    assert len({kind.code for kind in KINDS}) == len(KINDS)
    assert len({kind.title for kind in KINDS}) == len(KINDS)
    assert all(re.fullmatch(r"[a-z0-9_]+", kind.code) for kind in KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.code)
def test_a_title_is_a_name_and_no_sentence_which_the_detail_would_repeat(
    kind: type[FovealError],
) -> None:
    assert len(kind.title.split()) <= 5
    assert not re.search(r"[.;:]|\b(is|are|has|have|can|does|may)\b", kind.title)


@pytest.mark.parametrize("kind", SENT, ids=lambda kind: kind.code)
def test_a_status_is_one_of_an_error_and_says_when_to_come_back(kind: type[FovealError]) -> None:
    assert 400 <= kind.status < 600
    says_when = (kind.status == 503 and kind is not StuckError) or kind is QueueShareError
    assert (kind.retry_after_seconds is not None) == says_when
    assert issubclass(kind, UnavailableError) == (kind.status in {503, 504})


def test_the_text_of_an_error_is_what_a_client_reads() -> None:
    assert str(errors.BrokenImageError("cut short")) == "cut short"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("/srv/models/x/1/model.onnx: no card", "x/1/model.onnx: no card"),
        ("[Errno 13] Permission denied: '/srv/models/x/1/model.onnx'", "x/1/model.onnx"),
        ("Bad /opt/lib/python3.11/site-packages/thing.so here", "Bad thing.so here"),
        (
            "it failed: [ONNXRuntimeError] : 1 : FAIL : /onnxruntime_src/onnxruntime/core/graph.cc:42 onnx::Check no",
            "it failed: ONNX Runtime refuses it",
        ),
        ("failed core/graph.cc:42 (no)", "failed (no)"),
        ("There is nothing at /v1/nothing. 3/4 of 5.", "3/4 of 5."),
        ("s3://site-packages/opt: it refuses.", "the model storage: it refuses."),
        ("colors:1 in https://host:8/srv/x has no file", "in the model storage has no file"),
        (
            "Set FOVEAL_MODELS to a place of <name>/<version>/model.onnx",
            "Set FOVEAL_MODELS to a place of <name>/<version>/model.onnx",
        ),
    ],
)
def test_a_message_for_clients_names_no_folder_and_no_source_line(message: str, shown: str) -> None:
    answer = for_clients(message, Path("/srv/models/x/1/model.onnx"))
    assert shown in answer
    for inside in ("/srv", "/opt", "site-packages", "onnxruntime_src", ".cc:"):
        assert inside not in answer
