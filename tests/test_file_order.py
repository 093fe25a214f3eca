"""Files of tests that compute and files that wait take turns."""

from pathlib import Path

from tests.file_order import in_order


def test_files_that_compute_run_beside_files_that_wait_and_short_ones_last() -> None:
    limits = {
        "service/test_a.py": 0,
        "exporter/test_b.py": 360,
        "e2e/test_c.py": 180,
        "exporter/heads/test_d.py": 360,
        "docs/test_e.py": 0,
    }
    found = in_order((Path(name), limit) for name, limit in limits.items())
    assert [path.as_posix() for path in found] == [
        "exporter/test_b.py",
        "e2e/test_c.py",
        "exporter/heads/test_d.py",
        "service/test_a.py",
        "docs/test_e.py",
    ]
