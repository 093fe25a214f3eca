import logging

import pytest

from service.processes.ending import LastResort


def test_a_process_that_does_not_end_is_ended_with_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    codes: list[int] = []
    resort = LastResort(0.0, exit_process=codes.append)
    assert resort.daemon, "it does not keep the process itself"
    resort.start()
    assert codes == [], "it waits for the signal"
    with caplog.at_level(logging.ERROR):
        resort.begin()
        resort.begin()
        resort.join()
    assert codes == [1]
    assert "did not end within 0 s" in caplog.text
