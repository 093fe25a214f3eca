"""Write docker/constraints.txt: the exact packages of the container image, as pip resolves them on Linux x86-64.

python docker/pin.py              keep every pin that is still valid and add missing packages
python docker/pin.py --upgrade    use the newest version of every package
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONSTRAINTS = ROOT / "docker/constraints.txt"
HEAD = """\
# The exact packages of the container image: the service with its extras `cuda` and `otel`, and the setuptools that
# builds it.
# Written by docker/pin.py. Platforms without a GPU wheel use `onnxruntime`.
"""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["cuda"], *extras["otel"], "setuptools"]
    kept = [] if "--upgrade" in sys.argv[1:] else ["--constraint", str(CONSTRAINTS)]
    pins = resolve(wanted, kept)
    # The same release of ONNX Runtime on all platforms, so that a proof on one platform holds on all.
    pins["onnxruntime"] = pins["onnxruntime-gpu"]
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    CONSTRAINTS.write_text(HEAD + "".join(lines))


def resolve(wanted: list[str], options: list[str]) -> dict[str, str]:
    """Return {normalized name: version} of all packages that pip would install into an empty environment."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed"]
    report = subprocess.run(  # noqa: S603  our own arguments
        [*pip, "--only-binary", ":all:", "--report", "-", *options, *wanted],
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    found = (entry["metadata"] for entry in json.loads(report)["install"])
    return {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in found}


if __name__ == "__main__":
    main()
