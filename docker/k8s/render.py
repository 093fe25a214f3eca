"""Make the files of the Kustomize bases from the Helm chart, which is their only source: `make kubernetes`.

python docker/k8s/render.py HELM [FOLDER]
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).parent
CHART = HERE / "chart"
KUSTOMIZE = HERE / "kustomize"
NAMESPACE = "foveal"
MADE = "# Made from docker/k8s/chart by `make kubernetes`; do not edit.\n"

# Kustomize restarts the pods by the name that it gives the ConfigMap.
COMMON = ("settingsChecksum=false",)
MODES: dict[str, dict[str, str]] = {
    "": {
        "deployment.yaml": "base/deployment.yaml",
        "service.yaml": "base/service.yaml",
        "poddisruptionbudget.yaml": "base/poddisruptionbudget.yaml",
        "servicemonitor.yaml": "components/monitoring/servicemonitor.yaml",
        "prometheusrule.yaml": "components/monitoring/prometheusrule.yaml",
        "networkpolicy.yaml": "components/network-policy/networkpolicy.yaml",
    },
    "hpa": {"horizontalpodautoscaler.yaml": "components/hpa/horizontalpodautoscaler.yaml"},
    "keda": {"scaledobject.yaml": "components/keda/scaledobject.yaml"},
}
"""By the mode of autoscaling: which template's output is which file."""


def template(helm: str, *values: str) -> dict[str, str]:
    """Return the output of each template of the chart, by the template's name."""
    options = [f"--set={value}" for value in (*COMMON, *values)]
    done = subprocess.run(  # noqa: S603  helm, with the chart beside this file
        [helm, "template", "foveal", CHART, f"--namespace={NAMESPACE}", *options],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    parts = re.split(r"^---\n# Source: foveal/templates/(\S+)\n", done.stdout, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def files(helm: str) -> dict[str, str]:
    """Return the text of each file that is made, by its path in the folder."""
    made = {}
    for mode, names in MODES.items():
        outputs = template(
            helm,
            f"autoscaling.mode={mode}",
            "monitoring.enabled=true",
            "networkPolicy.enabled=true",
        )
        for name, path in names.items():
            lines = [line.rstrip() for line in outputs[name].strip().splitlines()]
            made[path] = MADE + "\n".join(lines) + "\n"
    settings = yaml.safe_load(outputs["configmap.yaml"])["data"]
    lines = [f"{name}={value}\n" for name, value in settings.items()]
    made["base/settings.env"] = MADE + "".join(lines)
    return made


if __name__ == "__main__":
    folder = Path(sys.argv[2]) if len(sys.argv) > 2 else KUSTOMIZE
    for path, text in files(sys.argv[1]).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
