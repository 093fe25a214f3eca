"""The process that users start, in the surroundings that the manifests of docker/k8s give it."""

import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http
from prometheus_client.parser import text_string_to_metric_families

from tests.docker.files import RULES, read_yaml
from tests.docker.kubernetes.manifests import (
    ADAPTER,
    base_environment,
    committed,
    containers,
    variables_of,
)
from tests.docker.promql import OWN_SERIES, read_names
from tests.images import photograph
from tests.live import Live, serve
from tests.servables import COLORS, SIDE, write_servable

MANIFESTS = committed()
DEPLOYMENT = MANIFESTS["kustomize/base/deployment.yaml"]
RUNTIME = MANIFESTS["kserve/serving-runtime.yaml"]

POD = """
set -e
mkdir -p "$1" && mount --bind "$0" "$1"
mount -t tmpfs -o size="$2" tmpfs /tmp
mount -o remount,bind,ro "$1"
mount -o remount,bind,ro /
shift 2
cd /
exec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "$@"
"""
"""Models, where they are seen, size of /tmp, command: root is read-only, /tmp is new, no capabilities."""


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("models")
    write_servable(root)
    with serve(models=root) as service:
        httpx.post(f"{service.url}/v1/classify", content=photograph("chelsea")).raise_for_status()
        yield service


@pytest.mark.parametrize("manifest", [DEPLOYMENT, RUNTIME], ids=lambda found: found["kind"])
def test_the_paths_of_the_probes_are_answered(manifest: dict[str, Any], live: Live) -> None:
    (container,) = containers(manifest)
    probes = {key: value for key, value in container.items() if key.endswith("Probe")}

    assert probes.keys() >= {"livenessProbe", "readinessProbe"}
    for probe in probes.values():
        answer = httpx.get(live.url + probe["httpGet"]["path"], headers={"Host": "10.1.2.3:8000"})
        assert answer.status_code == 200


def test_the_autoscalers_and_the_alerts_find_their_series_in_what_is_scraped(live: Live) -> None:
    monitor = MANIFESTS["kustomize/components/monitoring/servicemonitor.yaml"]["spec"]
    keda = MANIFESTS["kustomize/components/keda/scaledobject.yaml"]["spec"]["triggers"]
    (rule,) = read_yaml(ADAPTER)["rules"]["custom"]
    (endpoint,) = monitor["endpoints"]
    text = httpx.get(live.url + endpoint["path"]).text
    families = {family.name: family for family in text_string_to_metric_families(text)}

    def is_scraped(series: str) -> bool:
        name = re.sub(r"_(total|bucket|sum|count)$", "", series)
        return name in families or series in families

    queries = [trigger["metadata"]["query"] for trigger in keda if trigger["type"] == "prometheus"]
    queries += [rule["seriesQuery"]]
    queries += [alert["expr"] for group in read_yaml(RULES)["groups"] for alert in group["rules"]]
    wanted = {selector.metric for query in queries for selector in read_names(query).selectors}
    assert {series for series in wanted - OWN_SERIES.keys() if not is_scraped(series)} == set()
    depths = families["foveal_queue_depth"].samples
    assert {sample.labels["model"]: sample.value for sample in depths} == {"colors": 0}


def test_a_model_of_a_kserve_folder_answers_a_client_of_the_v2_protocol(live: Live) -> None:
    assert "v2" in RUNTIME["spec"]["protocolVersions"]
    image = np.zeros((1, SIDE, SIDE, 3), np.uint8)
    image[..., 2] = 255
    given = tritonclient.http.InferInput("image", image.shape, "UINT8")
    given.set_data_from_numpy(image)

    with tritonclient.http.InferenceServerClient(live.url.removeprefix("http://")) as client:
        scores = client.infer("colors", [given]).as_numpy("probabilities")

    assert COLORS[int(scores.argmax())] == "blue"


@contextmanager
def pod(
    models: Path, variables: dict[str, str], tmp: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start `foveal serve` as a pod would; yield the process and its URL."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": "/tmp",  # noqa: S108  the pod's own
        **variables,
    }
    command = [sys.executable, "-m", "service.cli", "serve"]
    process = subprocess.Popen(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", POD, models, "/mnt", tmp, *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := re.search(r"https?://[\w.:]+", line):
                yield process, found.group()
                break
        else:
            raise AssertionError((lines, process.stderr and process.stderr.read()))
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def can_make_a_pod() -> bool:
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        return False
    probe = ["unshare", "--map-root-user", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(
    60
)  # it starts a supervisor, two workers, their decoders and a trial of the model
@pytest.mark.skipif(not can_make_a_pod(), reason="no mount namespace can be made here")
def test_the_service_runs_and_ends_in_a_pod_that_can_write_to_tmp_alone(repository: Path) -> None:
    (container,) = containers(DEPLOYMENT)
    spec = DEPLOYMENT["spec"]["template"]["spec"]
    (volume,) = (v["emptyDir"] for v in spec["volumes"] if v["name"] == "tmp")
    variables = {
        **base_environment(),
        **variables_of(container),
        "FOVEAL_HOST": "0.0.0.0",  # noqa: S104  as in the container image
        "FOVEAL_PORT": "0",
        "FOVEAL_MODELS": "/mnt",
        "FOVEAL_WORKERS": "2",  # the supervisor keeps its sockets in /tmp
        "FOVEAL_DECODE": "isolated",
        "FOVEAL_TRIAL": "true",
        # Ends sooner, by the same formula.
        "FOVEAL_GRACE_SECONDS": "0.5",
        "FOVEAL_TIMEOUT_MS": "5000",
    }
    with pod(repository, variables, volume["sizeLimit"].removesuffix("i")) as (process, url):
        mounts = [
            line.split() for line in Path(f"/proc/{process.pid}/mountinfo").read_text().splitlines()
        ]
        status = Path(f"/proc/{process.pid}/status").read_text()
        roots = [fields[5] for fields in mounts if fields[4] == "/"]
        assert all(options.split(",")[0] == "ro" for options in roots)
        assert re.findall(r"CapEff:\s+(\w+)", status) == ["0" * 16]

        answer = httpx.post(f"{url}/v1/classify", content=photograph("chelsea"))
        assert answer.status_code == 200, answer.text
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as unfinished:
            unfinished.sendall(
                b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc"
            )
            process.send_signal(signal.SIGTERM)
            # Two times the grace, the deadline, and what the chart adds to both.
            assert process.wait(timeout=0.5 * 2 + 5 + 20) == 0
