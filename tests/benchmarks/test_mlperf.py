"""Lines of logs here are those of mlcommons-loadgen 6.0.17, without what is not read."""

from pathlib import Path

import pytest

from benchmarks.machine import Machine
from benchmarks.mlperf.log import LogError, read_log, result_of
from benchmarks.mlperf.page import read_results, write_results
from benchmarks.mlperf.result import OFFLINE, SERVER, SINGLE_STREAM, Result

SERVER_LOG = """\
:::MLLOG {"key": "loadgen_version", "value": "6.0.17 @ d6147c7eb7", "time_ms": 0.002294}
:::MLLOG {"key": "result_validity", "value": "INVALID", "time_ms": 2030.172400}
:::MLLOG {"key": "result_perf_constraints_met", "value": true, "time_ms": 2030.172400}
:::MLLOG {"key": "early_stopping_met", "value": false, "time_ms": 2030.172400}
:::MLLOG {"key": "result_invalid_reason", "value": "", "time_ms": 2030.172400}
:::MLLOG {"key": "early_stopping_result", "value": " * Run unsuccessful.  * Processed 190 queries.", "time_ms": 2030.1}
:::MLLOG {"key": "result_completed_samples_per_sec", "value": 93.4557, "time_ms": 2030.172400}
:::MLLOG {"key": "result_90.00_percentile_latency_ns", "value": 14119128, "time_ms": 2030.172400}
:::MLLOG {"key": "result_99.00_percentile_latency_ns", "value": 36924265, "time_ms": 2030.172400}
:::MLLOG {"key": "num_errors", "value": 0, "time_ms": 2030.172400}
"""
SINGLE_LOG = """\
:::MLLOG {"key": "loadgen_version", "value": "6.0.17 @ d6147c7eb7", "time_ms": 0.002294}
:::MLLOG {"key": "result_validity", "value": "VALID", "time_ms": 2001.0}
:::MLLOG {"key": "result_qps_with_loadgen_overhead", "value": 192.64, "time_ms": 2001.0}
:::MLLOG {"key": "result_90.00_percentile_latency_ns", "value": 5151896, "time_ms": 2001.0}
:::MLLOG {"key": "result_99.00_percentile_latency_ns", "value": 6520410, "time_ms": 2001.0}
:::MLLOG {"key": "num_errors", "value": 0, "time_ms": 2001.0}
"""


def a_result(folder: Path, log: str, scenario: str, *, failed: int = 0) -> Result:
    (folder / "log").write_text(log)
    return result_of(
        read_log(folder / "log"),
        "resnet50",
        scenario,
        date="2026-11-27",
        commit="0123456789ab",
        precision="cpu fp32",
        seconds=2.0,
        failed=failed,
        foreign_cores=0.0,
        sender_cores=0.1,
        bound_ms=50.0 if scenario == SERVER else None,
    )


def test_a_server_run_that_is_not_valid_says_why(tmp_path: Path) -> None:
    found = a_result(tmp_path, SERVER_LOG, SERVER)

    assert not found.valid
    assert found.reason == "* Run unsuccessful. * Processed 190 queries."
    assert (found.per_second, found.p90_ms, found.p99_ms) == (93.4557, 14.119128, 36.924265)


def test_a_single_stream_is_valid_by_the_generators_word(tmp_path: Path) -> None:
    found = a_result(tmp_path, SINGLE_LOG, SINGLE_STREAM)

    assert (found.valid, found.generator, found.per_second) == (True, "6.0.17", 192.64)


def test_a_run_with_requests_that_failed_does_not_count(tmp_path: Path) -> None:
    assert not a_result(tmp_path, SINGLE_LOG, SINGLE_STREAM, failed=1).valid


def test_a_log_of_a_run_that_did_not_end_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(SERVER_LOG.splitlines()[0])

    with pytest.raises(LogError, match="did not end"):
        read_log(tmp_path / "log")


def test_the_page_says_first_that_it_is_unofficial_and_keeps_what_it_is_made_of(
    tmp_path: Path,
) -> None:
    machine = Machine("A chip", 2.0, 8.0, ("avx2",), "Linux", "3.11.7", {})
    results = [
        a_result(tmp_path, SINGLE_LOG, SINGLE_STREAM),
        a_result(tmp_path, SERVER_LOG, SERVER),
    ]

    write_results(tmp_path / "out", machine, results)

    page = (tmp_path / "out" / "README.md").read_text()
    assert page.splitlines()[2].startswith("**Unofficial.**")
    assert "90 % within 5.15 ms" in page
    assert "93.5 images/s, 99 % within 50 ms" in page
    assert list(read_results(tmp_path / "out").values()) == results
    assert read_results(tmp_path / "out").get(("resnet50", OFFLINE)) is None
