"""One structured line a request: JSON where a machine reads, plain text on a terminal; never image data."""

import json
import logging
from datetime import UTC, datetime
from typing import Literal, TextIO

from pydantic_core import PydanticSerializationError, to_json

from service.log_writer import LogWriter
from service.spans import CURRENT

LOGGER = "foveal"
REQUEST_LOGGER = "foveal.request"
"""Has a line for each request."""
AUDIT_LOGGER = "foveal.audit"
"""Has a line for each admin call and each refused key, whatever the level of the log."""
FIELDS = "fields"
"""The name under which a record carries its structured fields: `log.info("…", extra={FIELDS: {…}})`."""


def configure_logs(level: str, form: Literal["auto", "json", "text"], stream: TextIO) -> None:
    """Send the service's and uvicorn's own messages to `stream`, once."""
    _spare_what_no_line_shows()
    as_json = form == "json" or (form == "auto" and not stream.isatty())
    writer = LogWriter(_own(stream), patient=REQUEST_LOGGER)
    writer.setFormatter(JsonLines() if as_json else TextLines())
    for name, minimum in ((LOGGER, level.upper()), ("uvicorn.error", "WARNING")):
        logger = logging.getLogger(name)
        for before in logger.handlers:
            before.close()
        logger.handlers = [writer]
        logger.setLevel(minimum)
        logger.propagate = False
    logging.getLogger(AUDIT_LOGGER).setLevel(logging.INFO)
    # What Pillow says of a damaged image would be a plain line on stderr; the client gets an error. OpenTelemetry's
    # packages repeat what clients send; `SpanQueue` says what an operator must know.
    for silent in ("PIL", "opentelemetry"):
        other = logging.getLogger(silent)
        other.handlers = [logging.NullHandler()]
        other.propagate = False


def _own(stream: TextIO) -> TextIO:
    """Return another stream to the same file, which nothing else uses.

    A write of the log that stalls would hold the lock of `sys.stdout`, which Python flushes at its end.
    """
    try:
        file = stream.fileno()
    except OSError:  # in memory
        return stream
    return open(file, "w", encoding=stream.encoding, errors="backslashreplace", closefd=False)


def flush_logs() -> None:
    """Wait until the lines that were logged are written; see `LogWriter.flush`."""
    for handler in logging.getLogger(LOGGER).handlers:
        handler.flush()


class JsonLines(logging.Formatter):
    """A JSON object a line, its keys in a fixed order."""

    def __init__(self) -> None:
        super().__init__()
        self._second = -1
        self._until_second = ""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self._time(record.created),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **_fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        try:
            return to_json(line, fallback=str).decode()
        except (
            PydanticSerializationError
        ):  # half of a character, as in the name of a file that is no text
            return json.dumps(line, default=str)

    def _time(self, seconds: float) -> str:
        """Return the time in ISO 8601, to the millisecond; within a second only that changes."""
        second = int(seconds)
        if second != self._second:
            self._second = second
            self._until_second = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._until_second}.{int((seconds - second) * 1e3):03d}+00:00"


class TextLines(logging.Formatter):
    """A line for people: the time, the message, then name=value; what a client sent can not make lines of its own."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        fields = "".join(f"  {key}={value}" for key, value in _fields_of(record).items())
        line = printable(f"{at}  {mark}{record.getMessage().rstrip()}{fields}")
        if not record.exc_info:
            return line
        trace = self.formatException(record.exc_info).split("\n")
        return "\n    ".join([line, *map(printable, trace)])


def printable(text: str) -> str:
    """Return the text with line ends, control sequences of terminals and other invisible characters escaped."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode() for one in text
    )


def _fields_of(record: logging.LogRecord) -> dict[str, object]:
    """Return the fields of a line, and of the trace that it belongs to.

    They have the names that OpenTelemetry gives them, "Trace Context in non-OTLP Log Formats".
    """
    fields: dict[str, object] = getattr(record, FIELDS, {})
    here = CURRENT.get()
    if here is None:
        return fields
    request = here.request
    return {
        **fields,
        "trace_id": request.trace_id,
        "span_id": request.span_id,
        "trace_flags": request.flags,
    }


def _spare_what_no_line_shows() -> None:
    """Keep logging from finding out caller, thread and process of every message: half of what a request's line costs.

    The switches are the ones that the logging HOWTO names under "Optimization".
    """
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = False
    logging.logProcesses = False
    logging.logMultiprocessing = False
