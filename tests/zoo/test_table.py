"""The table of the named networks, from results written by hand."""

import json
from pathlib import Path
from typing import Any

from zoo.__main__ import read_results, read_runs
from zoo.table import table

LINES: list[dict[str, Any]] = [
    {"run": {"processor": "Z80", "cores": 1, "versions": {"torch": "2.0"}}},
    {"key": "torchvision:resnet18", "status": "traceback", "words": "KeyError: 'x'"},
    {
        "key": "torchvision:resnet18",
        "status": "exported",
        "cpu_seconds": 20.4,
        "difference": 1.2e-6,
        "megabytes": 46.76,
    },
    {
        "key": "torchvision:alexnet",
        "status": "exported",
        "cpu_seconds": 9.6,
        "difference": 6e-7,
        "megabytes": 244.42,
    },
    {"run": {"processor": "Z80", "cores": 1, "versions": {"torch": "2.1"}}},
    {"key": "timm:lcnet_050", "status": "refused", "words": "Give --labels\na|b"},
    {"key": "timm:tinynet_e", "status": "too slow", "words": "more than 900 s"},
    {
        "key": "timm:mixnet_s",
        "status": "shortage",
        "words": "The export ran out of memory: 0.41 GiB more could not be allocated",
    },
    {"key": "timm:no_longer_listed", "status": "exported"},
]


def written(folder: Path) -> Path:
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES))
    return path


def test_the_last_result_of_each_network_counts(tmp_path: Path) -> None:
    lines = table(read_results(written(tmp_path))).splitlines()

    assert lines[1].startswith("2 of 5 networks go through (40.0%). ")
    assert "| torchvision | 2 of 2 | 15, 20 | 1e-06 |" in lines
    assert "| timm | 0 of 3 |  |  |" in lines
    assert "| resnet18 | classify | 20 | 1e-06 | 46.8 |" in lines
    assert not any("Transformers" in line for line in lines)


def test_what_does_not_go_through_has_its_reason(tmp_path: Path) -> None:
    lines = table(read_results(written(tmp_path))).splitlines()

    assert "| timm:lcnet_050 | Give --labels a\\|b |" in lines
    assert "| timm:tinynet_e | not finished: more than 900 s |" in lines
    short = "The export ran out of memory: 0.41 GiB more could not be allocated"
    assert f"| timm:mixnet_s | {short} |" in lines


def test_processor_and_versions_are_those_of_all_runs(tmp_path: Path) -> None:
    path = written(tmp_path)
    text = table(read_results(path), read_runs(path))

    assert "Measured on Z80 (1 cores), with torch 2.0 and 2.1." in text
