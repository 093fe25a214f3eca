import logging
import signal

import pytest

from service.processes.end_log import EndLog


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "foveal")
    return caplog


def test_an_end_by_itself_is_three_lines_of_information(log: pytest.LogCaptureFixture) -> None:
    times = iter([100.0, 107.26])
    end = EndLog(clock=lambda: next(times))
    end.signaled(signal.SIGTERM, 5)
    end.closed(2)
    end.ended(0)
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("INFO", "received SIGTERM; it is not ready any more, and answers new requests for 5 s"),
        ("INFO", "the socket is closed; 2 requests are not answered yet"),
        ("INFO", "Foveal ended 7.3 s after the signal; every request is answered"),
    ]


def test_what_is_left_is_a_warning_with_the_name_of_the_worker(
    log: pytest.LogCaptureFixture,
) -> None:
    end = EndLog("worker 2")
    end.closed(1)
    end.ended(1)
    assert [(record.levelname, record.getMessage()) for record in log.records] == [
        ("INFO", "worker 2: the socket is closed; 1 request is not answered yet"),
        ("WARNING", "worker 2 ended; 1 request is left without an answer"),
    ]


def test_without_a_grace_no_new_request_is_promised_an_answer(
    log: pytest.LogCaptureFixture,
) -> None:
    EndLog().signaled(signal.SIGINT, 0)
    assert log.messages == ["received SIGINT; it is not ready any more"]
