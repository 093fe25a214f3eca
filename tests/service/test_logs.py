import json
import logging
import sys
from io import StringIO

import pytest

from service.logs import FIELDS, JsonLines, TextLines, configure_logs


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("foveal", logging.INFO, "", 0, message, (), None)
    setattr(made, FIELDS, fields)
    return made


def test_a_machine_reads_a_json_object_a_line() -> None:
    line = json.loads(JsonLines().format(record("done\nwell", model="lenet5", ms=1.5)))
    assert (line["message"], line["level"], line["model"], line["ms"]) == (
        "done\nwell",
        "info",
        "lenet5",
        1.5,
    )


def test_a_person_reads_the_message_and_its_fields() -> None:
    assert TextLines().format(record("done", ms=1.5)).endswith("  done  ms=1.5")


def test_a_fault_brings_its_traceback() -> None:
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        made = record("died")
        made.exc_info = sys.exc_info()
    assert "ZeroDivisionError" in json.loads(JsonLines().format(made))["traceback"]
    assert "ZeroDivisionError" in TextLines().format(made)


@pytest.mark.parametrize(("form", "first"), [("auto", "{"), ("json", "{"), ("text", "1")])
def test_a_pipe_gets_json_unless_told_otherwise(form: str, first: str) -> None:
    stream = StringIO()
    configure_logs("info", form, stream)  # type: ignore[arg-type]
    logging.getLogger("foveal").info("hello")
    logging.getLogger("foveal").debug("hidden")
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue()[0] == first or stream.getvalue()[2] == ":"
