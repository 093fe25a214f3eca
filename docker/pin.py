"""Write docker/constraints.txt: what the image runs, exactly, as pip resolves it for this Python on Linux x86-64.

python docker/pin.py              keep every pin that still fits and add what is missing
python docker/pin.py --upgrade    take the newest of everything
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
# What the image runs, exactly: the service with its extra `cuda`, and the setuptools that builds it.
# Written by docker/pin.py. `onnxruntime` is what platforms get for which there is no GPU wheel.
"""


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cuda"], "setuptools"]
    kept = [] if "--upgrade" in sys.argv[1:] else ["--constraint", str(CONSTRAINTS)]
    pins = resolve(wanted, kept)
    # One release of ONNX Runtime everywhere, so that a model proved on one platform is proved on all.
    pins["onnxruntime"] = pins["onnxruntime-gpu"]
    lines = [f"{name}=={version}\n" for name, version in sorted(pins.items())]
    CONSTRAINTS.write_text(HEAD + "".join(lines))


def resolve(wanted: list[str], options: list[str]) -> dict[str, str]:
    """Return {normalized name: version} of everything that pip would install into an empty environment."""
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
