"""`python -m tests.corpora FOLDER`: posts every file of other projects' test suites to a service of its own.

FOLDER has source distributions (`*.tar.gz`); `make corpora` fetches them. Each answer must be 200 or 4xx with a stable
code, take less than `MOST_CPU_SECONDS`, and need no more memory than the pixels and `MOST_EXTRA_MIB`.
"""

import base64
import json
import os
import sys
import tarfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from service.errors import error_types
from tests.corpora.judge import Answer, Limits, faults_of
from tests.live import Process, start

LARGEST_BYTES = 32 * 2**20
VIDEO_ENDINGS = frozenset(
    {
        *(".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".m4a", ".m4b", ".3gp", ".gif", ".apng"),
        *(".wmv", ".wma", ".flv", ".ts", ".ogv", ".ogg", ".oggtheora", ".swf", ".rm"),
    }
)
IMAGE_ROUTES = ("classify", "segment?model=unet-digits", "detect")
VIDEO_ROUTES = ("video?model=lenet5&fps=2", "video?model=lenet5&max_frames=4")
BOUNDARY = "corpora-boundary"
FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
TICKS = os.sysconf("SC_CLK_TCK")
LIMITS = Limits(cpu_seconds=2.0, clock_seconds=8.0, extra_mib=300.0)


@dataclass(frozen=True, slots=True)
class Specimen:
    """A file of a corpus."""

    corpus: str
    name: str
    body: bytes

    @property
    def is_video(self) -> bool:
        """Return whether the file goes to the video route too."""
        animated = self.body[:4] == b"RIFF" or b"acTL" in self.body[:200]
        return Path(self.name).suffix.lower() in VIDEO_ENDINGS or animated


def specimens(folder: Path) -> Iterator[Specimen]:
    """Yield the files below a folder of tests in each source distribution; nothing is unpacked to disk."""
    for archive in sorted(folder.glob("*.tar.gz")):
        with tarfile.open(archive) as tar:
            for member in tar:
                parts = [part.lower() for part in Path(member.name).parts]
                if not member.isfile() or "tests" not in parts or member.size > LARGEST_BYTES:
                    continue
                file = tar.extractfile(member)
                assert file is not None
                yield Specimen(archive.name.removesuffix(".tar.gz"), member.name, file.read())


class Meter:
    """CPU time and peak memory of a process, as Linux counts them."""

    def __init__(self, pid: int) -> None:
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")  # the peak starts again at the present size
        self._cpu = self._cpu_seconds()
        self._memory = self._memory_mib("VmRSS")
        self._began = time.perf_counter()

    def read(self) -> tuple[float, float, float]:
        """Return the CPU seconds, the seconds by the clock and the growth of the peak in MiB since the start."""
        clock = time.perf_counter() - self._began
        return self._cpu_seconds() - self._cpu, clock, self._memory_mib("VmHWM") - self._memory

    def _cpu_seconds(self) -> float:
        fields = (self._folder / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def _memory_mib(self, name: str) -> float:
        for line in (self._folder / "status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(name)


def requests_of(found: Specimen) -> Iterator[tuple[str, bytes, dict[str, str]]]:
    """Yield route, body and headers of every request that a file is sent in."""
    for route in IMAGE_ROUTES:
        yield route, found.body, {}
    part = (
        b'--%s\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n%s\r\n--%s--\r\n'
    )
    yield "classify", part % (BOUNDARY.encode(), found.body, BOUNDARY.encode()), FORM
    yield "classify", json.dumps({"images": [base64.b64encode(found.body).decode()]}).encode(), {}
    if found.is_video:
        for route in VIDEO_ROUTES:
            yield route, found.body, {}


def answered(
    client: httpx.Client, pid: int, route: str, body: bytes, headers: dict[str, str]
) -> Answer:
    meter = Meter(pid)
    response = client.post(f"/v1/{route}", content=body, headers=headers)
    cpu, clock, extra = meter.read()
    code = str(response.json().get("code", "")) if response.status_code != 200 else ""
    return Answer(response.status_code, code, cpu, clock, extra)


def check(process: Process, folder: Path) -> int:
    """Post everything, print what is wrong and the counts, and return how many answers were wrong."""
    counts: Counter[tuple[str, str]] = Counter()
    codes = {error.code for error in error_types()}
    files: Counter[str] = Counter()
    answers: list[Answer] = []
    wrong = 0
    with httpx.Client(base_url=process.url, timeout=120) as client:
        for found in specimens(folder):
            files[found.corpus] += 1
            for route, body, headers in requests_of(found):
                answer = answered(client, process.process.pid, route, body, headers)
                answers.append(answer)
                counts[route.split("?")[0], answer.code or str(answer.status)] += 1
                for fault in faults_of(answer, found.body, codes, LIMITS):
                    wrong += 1
                    print(f"{found.name}, {route}: {fault}", flush=True)
    print(f"files: {dict(files)}")
    for (route, result), times in sorted(counts.items()):
        print(f"  {route:10} {result:22} {times}")
    print(f"{len(answers)} requests, {wrong} wrong; at most {_most(answers)}")
    return wrong


def _most(answers: list[Answer]) -> str:
    return (
        f"{max(one.cpu_seconds for one in answers):.1f} s of CPU, {max(one.clock_seconds for one in answers):.1f} s, "
        f"{max(one.extra_mib for one in answers):.0f} MiB"
    )


def main() -> int:
    folder = Path(sys.argv[1])
    if not list(folder.glob("*.tar.gz")):
        print(f"There is no source distribution in {folder}. `make corpora` fetches them.")
        return 2
    with start() as process:
        return 1 if check(process, folder) else 0


if __name__ == "__main__":
    sys.exit(main())
