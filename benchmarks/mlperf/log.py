"""Reads the detail log of MLPerf's load generator: the figures of a run, and whether they are valid."""

import json
from pathlib import Path
from typing import Any

from benchmarks.mlperf.result import OFFLINE, SERVER, SINGLE_STREAM, Result

DETAIL, SUMMARY = "mlperf_log_detail.txt", "mlperf_log_summary.txt"
_PREFIX = ":::MLLOG "


class LogError(Exception):
    """The load generator wrote no result; the message says what is missing."""


def read_log(path: Path) -> dict[str, Any]:
    """Return each key's last value.

    Raises:
        LogError: the file is missing, or is no such log.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise LogError(f"{path.name} can not be read: {error.strerror}") from error
    found = {}
    for line in lines:
        if line.startswith(_PREFIX):
            entry = json.loads(line.removeprefix(_PREFIX))
            found[entry["key"]] = entry["value"]
    if "result_validity" not in found:
        raise LogError(f"{path.name} has no result_validity: the run did not end")
    return found


def result_of(log: dict[str, Any], model: str, scenario: str, **known: Any) -> Result:  # noqa: ANN401  # of Result
    """Return the result of a log; `known` are the attributes of the result that the log has not."""
    rates = {
        SINGLE_STREAM: "result_qps_with_loadgen_overhead",
        SERVER: "result_completed_samples_per_sec",
        OFFLINE: "result_samples_per_second",
    }
    return Result(
        model=model,
        scenario=scenario,
        valid=log["result_validity"] == "VALID"
        and log.get("num_errors", 0) == 0
        and known["failed"] == 0,
        generator=str(log.get("loadgen_version", "")).partition(" ")[0],
        per_second=float(log[rates[scenario]]),
        p90_ms=log["result_90.00_percentile_latency_ns"] / 1e6,
        p99_ms=log["result_99.00_percentile_latency_ns"] / 1e6,
        reason=_reason(log),
        **known,
    )


def _reason(log: dict[str, Any]) -> str:
    """Return why a run is not valid, in one line."""
    if log["result_validity"] == "VALID":
        return ""
    return " ".join(
        f"{log.get('result_invalid_reason') or log.get('early_stopping_result')}".split()
    )
