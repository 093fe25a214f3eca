import json
import logging
import subprocess
import sys
from io import StringIO

import pytest

from service.logs import AUDIT_LOGGER, FIELDS, JsonLines, TextLines, configure_logs, flush_logs


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
def test_a_pipe_gets_json_unless_another_format_is_set(form: str, first: str) -> None:
    stream = StringIO()
    configure_logs("info", form, stream)  # type: ignore[arg-type]
    logging.getLogger("foveal").info("hello")
    logging.getLogger("foveal").debug("hidden")
    flush_logs()
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue()[0] == first or stream.getvalue()[2] == ":"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ("/a\n12:00:00  POST /v1/classify 200", r"/a\n12:00:00  POST /v1/classify 200"),
        ("/a\r\x0b\x0c\x85\u2028\u2029", r"/a\r\x0b\x0c\x85\u2028\u2029"),
        ("/\x1b[2J\x9b31m\x07\x7f\0", r"/\x1b[2J\x9b31m\x07\x7f\x00"),
        ("/\u202e\u2066\u200b\ufeff", r"/\u202e\u2066\u200b\ufeff"),
        ("/\udcff", r"/\udcff"),
        ("/Zürich/猫/😀", "/Zürich/猫/😀"),
    ],
)
def test_what_a_client_sent_makes_no_line_and_no_command_for_a_terminal(
    sent: str, shown: str
) -> None:
    line = TextLines().format(record(f"GET {sent} 404", code=sent))
    assert line.endswith(f"  GET {shown} 404  code={shown}")
    line.encode()


def test_a_traceback_can_not_forge_a_line_either() -> None:
    try:
        raise ValueError("bad\n12:00:00  POST /v1/classify 200\x1b[2J")
    except ValueError:
        made = record("died")
        made.exc_info = sys.exc_info()
    first, *rest = TextLines().format(made).split("\n")
    assert first.endswith("  died")
    assert len(rest) > 2
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_half_a_character_is_escaped_and_loses_no_line() -> None:
    assert json.loads(JsonLines().format(record("b\udcff", ms=1.5)))["message"] == "b\udcff"


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_audit_log_is_written_at_every_level(level: str) -> None:
    stream = StringIO()
    configure_logs(level, "json", stream)
    logging.getLogger(AUDIT_LOGGER).info("admin call: POST /v1/admin/load")
    flush_logs()
    assert json.loads(stream.getvalue())["message"] == "admin call: POST /v1/admin/load"


READS_AN_IMAGE = """
import struct, sys
from service.errors import FovealError
from service.imaging.decode import Limits, open_image
from service.logs import configure_logs

configure_logs("info", "json", sys.stdout)
tags = (
    *((256, 64), (257, 8), (258, 8), (259, 32946), (262, 1), (273, 174)),
    *((277, 65535), (278, 8), (279, 88), (339, 1)),
)
entries = b"".join(struct.pack("<HHIHH", tag, 3, 1, value, 0) for tag, value in tags)
tiff = b"II*\\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(300)
try:
    open_image(tiff, Limits())
except FovealError as error:
    sys.exit(error.code)
"""


def test_what_pillow_logs_of_a_damaged_image_is_no_line() -> None:
    run = subprocess.run(
        [sys.executable, "-c", READS_AN_IMAGE], capture_output=True, text=True, check=False
    )

    assert (run.stdout, run.stderr) == ("", "unsupported_image\n")
