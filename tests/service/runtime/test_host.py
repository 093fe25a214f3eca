import gc
import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.runtime.host import (
    MOST_IMAGING_THREADS,
    YOUNG_OBJECTS,
    granted_cores,
    granted_memory,
    granted_threads,
    imaging_threads,
    memory_kills,
    memory_left,
    spared_collector,
)


def cgroup(root: Path, files: dict[str, str], membership: str) -> tuple[Path, Path]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    path = root / "membership"
    path.write_text(membership)
    return root, path


def test_a_quota_of_version_2_cuts_the_cores(tmp_path: Path) -> None:
    assert granted_cores(*cgroup(tmp_path, {"pod/cpu.max": "50000 100000"}, "0::/pod\n")) == 0.5


def test_the_tightest_quota_up_to_the_root_counts(tmp_path: Path) -> None:
    files = {"a/b/cpu.max": "max 100000", "a/cpu.max": "25000 100000", "cpu.max": "max 100000"}
    assert granted_cores(*cgroup(tmp_path, files, "0::/a/b\n")) == 0.25


def test_a_quota_of_version_1_counts_too(tmp_path: Path) -> None:
    files = {"cpu/pod/cpu.cfs_quota_us": "75000", "cpu/pod/cpu.cfs_period_us": "100000"}
    assert granted_cores(*cgroup(tmp_path, files, "4:cpu,cpuacct:/pod\n")) == 0.75


@pytest.mark.parametrize("text", ["max 100000", "-1 100000", "", "nonsense"])
def test_no_quota_leaves_the_affinity(tmp_path: Path, text: str) -> None:
    assert granted_cores(*cgroup(tmp_path, {"cpu.max": text}, "0::/\n")) >= 1


def test_memory_is_the_tighter_of_cgroup_and_machine(tmp_path: Path) -> None:
    assert granted_memory(*cgroup(tmp_path, {"memory.max": "1048576"}, "0::/\n")) == 1048576


def left(root: Path, files: dict[str, str], membership: str, swap_kb: int = 0) -> object:
    folder, path = cgroup(root, files, membership)
    (root / "meminfo").write_text(f"MemTotal: 9 kB\nSwapFree:  {swap_kb} kB\n")
    return memory_left(folder, path, root / "meminfo")


V1_LIMIT, V1_STAT = "memory/pod/memory.limit_in_bytes", "memory/pod/memory.stat"


def test_a_group_leaves_what_no_process_holds_outside_of_files(tmp_path: Path) -> None:
    second = {"pod/memory.max": "9000000", "pod/memory.stat": "anon 4000\nfile 700\nshmem 500\n"}
    assert left(tmp_path, second, "0::/pod\n") == (8_995_500, 9_000_000)
    first = {
        V1_LIMIT: "8000000",
        V1_STAT: "rss 1\ncache 90\ntotal_rss 4000\ntotal_shmem 500\ntotal_cache 900\n",
    }
    assert left(tmp_path, first, "4:memory:/pod\n") == (7_995_500, 8_000_000)


def test_the_group_that_leaves_least_counts(tmp_path: Path) -> None:
    stat = "anon 100\nshmem 0\n"
    files = {"a/memory.max": "5000", "a/memory.stat": stat, "a/b/memory.max": "6000"}
    assert left(tmp_path, files | {"a/b/memory.stat": stat}, "0::/a/b\n") == (4900, 5000)


@pytest.mark.parametrize(
    ("files", "more"),
    [
        ({"pod/memory.swap.max": "1000"}, 1000),
        ({"pod/memory.swap.max": "max"}, 4096),
        ({"pod/memory.swap.max": "0"}, 0),
        ({}, 4096),
    ],
)
def test_swap_that_may_be_used_counts_as_left(
    tmp_path: Path, files: dict[str, str], more: int
) -> None:
    files |= {"pod/memory.max": "9000", "pod/memory.stat": "anon 4000\n"}
    assert left(tmp_path, files, "0::/pod\n", swap_kb=4) == (5000 + more, 9000)


@pytest.mark.parametrize("limit", ["max", str(2**62)])
def test_without_a_limit_of_a_group_nothing_is_said(tmp_path: Path, limit: str) -> None:
    files = {"pod/memory.max": limit, "pod/memory.stat": "anon 4000\n"}
    assert left(tmp_path, files, "0::/pod\n") is None


def test_a_group_that_does_not_say_what_it_holds_counts_for_nothing(tmp_path: Path) -> None:
    assert left(tmp_path, {"pod/memory.max": "9000"}, "0::/pod\n") is None


def test_groups_count_the_processes_that_were_ended_for_want_of_memory(tmp_path: Path) -> None:
    files = {
        "pod/memory.events": "low 0\noom 7\noom_kill 3\n",
        "memory/pod/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
    }
    found = memory_kills(*cgroup(tmp_path, files, "4:memory:/pod\n0::/pod\n"))
    assert found == {tmp_path / "memory/pod": 2, tmp_path / "pod": 3}


def test_there_is_always_a_thread() -> None:
    assert granted_threads() >= 1


@pytest.mark.parametrize(("granted", "threads"), [(4, 2), (16, 8), (64, MOST_IMAGING_THREADS)])
def test_beside_a_gpu_a_process_prepares_images_on_its_share_of_the_cores_up_to_a_few(
    granted: int, threads: int
) -> None:
    assert imaging_threads(lambda count: count // 2, granted) == threads


FRAGMENTS = """
import resource
from service.runtime.host import trim_heap
blocks = [bytes(100_000) for _ in range(2000)]
for at, block in enumerate(blocks):
    if at % 20:
        blocks[at] = None
del block
resident_pages = lambda: int(open("/proc/self/statm").read().split()[1])
before = resident_pages()
trim_heap()
print((before - resident_pages()) * resource.getpagesize())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is trimmed")
def test_what_was_freed_between_what_is_kept_goes_back_to_the_system() -> None:
    finished = subprocess.run(
        [sys.executable, "-c", FRAGMENTS], capture_output=True, text=True, check=True
    )
    assert int(finished.stdout) > 100e6


LARGE_BLOCKS = """
import sys
from service.runtime.host import return_large_blocks_at_once
if sys.argv[1:]:
    return_large_blocks_at_once()
resident_pages = lambda: int(open("/proc/self/statm").read().split()[1])
del (first := [bytes(30_000_000)])[:]
before = resident_pages()
kept, end = [], []
for _ in range(10):
    block = bytes(30_000_000)
    kept.append(bytes(100_000))
    del block
print((resident_pages() - before) * 4096)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's heap is set")
def test_large_blocks_go_back_to_the_system_when_they_are_freed() -> None:
    kept = [
        int(
            subprocess.run(
                [sys.executable, "-c", LARGE_BLOCKS, *set_so],
                capture_output=True,
                text=True,
                check=True,
            ).stdout
        )
        for set_so in ([], ["set"])
    ]
    assert kept[0] > 25e6
    assert kept[1] < 5e6


@pytest.fixture
def threshold() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.set_threshold(*before)


def test_a_run_within_another_program_leaves_what_that_has_frozen() -> None:
    before = [object]
    gc.freeze()
    with spared_collector():
        during = [object]
        gc.freeze()  # by another thread of that program
    assert not any(found is before or found is during for found in gc.get_objects())


@pytest.mark.parametrize(
    ("own", "during"),
    [
        ((700, 5, 10), (YOUNG_OBJECTS, 5, 10)),
        ((0, 10, 10), (0, 10, 10)),
        ((50_000, 10, 10), (50_000, 10, 10)),
    ],
)
@pytest.mark.usefixtures("threshold")
def test_a_run_collects_less_often_and_then_as_the_program_did(
    own: tuple[int, int, int], during: tuple[int, int, int]
) -> None:
    gc.set_threshold(*own)
    with spared_collector():
        assert gc.get_threshold() == during
    assert gc.get_threshold() == own
