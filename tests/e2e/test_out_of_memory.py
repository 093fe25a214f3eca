"""The kernel ends a process for want of memory, as in a container with a limit: which ends, and which go on."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from tests.cgroups import add, memory_group
from tests.images import encode, plain
from tests.live import Process, problem, start
from tests.processes import children, has_ended

LIMIT_BYTES = 400 << 20
"""More than a worker of a tiny model takes to start, and less than the image takes."""


@pytest.fixture(scope="module")
def dear() -> bytes:
    """A WebP of 40 KB whose decoder takes 600 MB."""
    return encode(Image.new("RGB", (6000, 6000)), "WEBP", method=0)


@pytest.fixture
def group() -> Iterator[Path]:
    with memory_group(LIMIT_BYTES) as made:
        yield made


def sample(service: Process, name: str, **labels: str) -> float:
    text = httpx.get(f"{service.url}/metrics").text
    return sum(
        one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
        if one.name == name and labels.items() <= one.labels.items()
    )


def classify(service: Process) -> str:
    """Classify a small image over a new connection; return the process that answered."""
    answer = httpx.post(f"{service.url}/v1/classify", content=plain("red"), timeout=10)
    assert answer.status_code == 200
    return answer.headers["x-request-id"][:20]


def test_a_worker_that_the_kernel_ends_for_want_of_memory_dies_alone(
    group: Path, dear: bytes, repository: Path
) -> None:
    with start(models=repository, workers=2, log_level="debug") as service:
        supervisor = service.process.pid
        workers = [int(found[1]) for found in service.logged(r"^worker \d has pid (\d+)$")]
        add(group, [supervisor, *workers])
        with pytest.raises((httpx.NetworkError, httpx.RemoteProtocolError)):
            httpx.post(f"{service.url}/v1/classify", content=dear, timeout=15)
        while not any(map(has_ended, workers)):
            pass
        assert not all(map(has_ended, workers))
        assert len({classify(service) for _ in range(5)}) == 1  # the other worker
        while not service.logged(r"^worker \d serves again$"):
            classify(service)
        (reason,) = service.logged(r"was ended by SIGKILL.*")
        assert "which the kernel sends when memory is short" in reason.group()
        assert sample(service, "foveal_worker_restarts_total") == 1
        assert sample(service, "foveal_workers") == 2
        assert service.process.poll() is None


def test_an_isolated_decoder_that_the_kernel_ends_dies_in_place_of_its_service(
    group: Path, dear: bytes, repository: Path
) -> None:
    with start(models=repository, decode="isolated", threads=1) as service:
        classify(service)
        pid = service.process.pid
        add(group, [pid, *children(pid)])
        answer = httpx.post(f"{service.url}/v1/classify", content=dear, timeout=15)
        problem(answer, 503, "unavailable")
        assert answer.headers["retry-after"]
        classify(service)
        assert sample(service, "foveal_decoder_restarts_total", reason="killed") == 1
        assert service.process.poll() is None
