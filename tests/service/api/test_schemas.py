import pytest
from pydantic import TypeAdapter, ValidationError

from service.api.openapi import Components
from service.api.schemas import problems, responses, task_response, video_event, video_response
from service.tasks.tasks import TASKS

PREDICTION = {"label": "cat", "class_id": 3, "probability": 0.5}
CLASSIFIED = {"model": "m", "version": 1, "results": [{"predictions": [PREDICTION]}]}


def test_a_tasks_response_holds_results_and_failures_and_nothing_else() -> None:
    adapter = TypeAdapter(task_response(TASKS["classify"]))
    failed = {"error": {"code": "broken_image", "detail": "cut short"}}
    assert adapter.validate_python(
        {**CLASSIFIED, "results": [failed, {"predictions": [PREDICTION]}]}
    )
    for wrong in (
        {**CLASSIFIED, "extra": 1},
        {**CLASSIFIED, "results": [{"embedding": [1.0]}]},
        {"model": "m", "results": []},
    ):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_a_videos_event_is_known_by_its_kind() -> None:
    adapter = TypeAdapter(video_event(TASKS))
    frame = {"event": "frame", "done": 1, "of": None, "number": 0, "time": 0.0}
    seen = {"predictions": [PREDICTION], "smoothed": [PREDICTION]}
    assert adapter.validate_python({**frame, **seen})
    assert adapter.validate_python({**frame, "error": {"code": "x", "detail": "y"}})
    error = {"code": "deadline_exceeded", "status": 504, "detail": "late"}
    assert adapter.validate_python({"event": "error", "error": error})
    for wrong in ({**frame, **seen, "hue": 1}, {**frame, "event": "start"}, {"event": "end"}):
        with pytest.raises(ValidationError):
            adapter.validate_python(wrong)


def test_a_videos_response_fits_the_summary_of_its_own_task_only() -> None:
    adapter = TypeAdapter(video_response(TASKS))
    facts = {
        "container": "mov", "codec": "h264", "width": 8, "height": 8, "rotation": 0, "fps": None,
        "seconds": 1.0, "decoded": 1, "sampled": 1, "skipped": 0,
    }  # fmt: skip
    whole = {"model": "m", "version": 1, "video": facts, "ended": "complete", "frames": []}
    assert adapter.validate_python({**whole, "task": "detect", "summary": {"tracks": []}})
    with pytest.raises(ValidationError):
        adapter.validate_python({**whole, "task": "segment", "summary": {"tracks": []}})


def test_a_routes_responses_name_their_media_types_and_every_error() -> None:
    components = Components()
    found = responses(components, "Answer", int, "image/png", event=str)
    assert set(found[200]["content"]) == {
        "application/json", "image/png", "application/x-ndjson", "text/event-stream",
    }  # fmt: skip
    errors = {400, 401, 403, 404, 413, 415, 421, 422, 429, 500, 503, 504}
    assert set(found) == {200} | errors
    assert set(problems(components, 404)) == {404}
    assert {"Answer", "VideoEvent", "Problem"} <= set(components.schemas())
