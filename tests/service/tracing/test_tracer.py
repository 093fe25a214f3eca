import pytest

from service.tracing.tracer import MOST_HEADER_BYTES, Caller, caller_of

PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
HEADER = (b"traceparent", PARENT)


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], Caller()),
        ([HEADER], Caller(PARENT.decode())),
        ([HEADER, HEADER], Caller()),
        ([(b"tracestate", b"a=1")], Caller()),
        (
            [(b"tracestate", b"a=1"), HEADER, (b"tracestate", b"b=2")],
            Caller(PARENT.decode(), "a=1,b=2"),
        ),
        ([(b"traceparent", b"0" * (MOST_HEADER_BYTES + 1))], Caller()),
        ([HEADER, (b"tracestate", b"a" * (MOST_HEADER_BYTES + 1))], Caller(PARENT.decode())),
        ([HEADER, *[(b"tracestate", b"a=1")] * MOST_HEADER_BYTES], Caller(PARENT.decode())),
        ([(b"traceparent", b"\xff\x00")], Caller("\xff\x00")),
    ],
)
def test_what_the_headers_say_of_a_trace(headers: list[tuple[bytes, bytes]], found: Caller) -> None:
    assert caller_of(headers) == found
