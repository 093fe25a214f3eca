import subprocess
import sys

PROGRAM = """
import gc
import service.app
from service.processes.worker import spare_the_collector
before = len(gc.get_objects())
spare_the_collector()
print(before, len(gc.get_objects()), gc.get_freeze_count())
"""


def test_the_collector_no_longer_walks_over_what_is_there_to_stay() -> None:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    before, after, frozen = map(int, told.stdout.split())
    assert after < before / 100
    assert frozen > before / 2
