"""The results → a table in exporter/README.md, between two marks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from zoo.networks import Family, Listed, networks

README = Path(__file__).parent.parent / "exporter" / "README.md"
BEGIN, END = "<!-- make zoo: begin -->\n", "<!-- make zoo: end -->\n"
TITLES: dict[Family, str] = {
    "torchvision": "torchvision",
    "timm": "timm",
    "transformers": "Transformers",
    "smp": "segmentation_models_pytorch",
    "ultralytics": "Ultralytics",
}

_BEFORE = {
    "not built": "its library does not build it, or the built one does not run: ",
    "too slow": "not finished: ",
    "crashed": "the process ended: ",
    "traceback": "an error of the exporter: ",
}
"""What stands before the words of a result that is no refusal."""


def write_table(
    results: Mapping[str, dict[str, Any]], runs: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Replace the table in the README by that of these results and runs; a README without marks stays as it is."""
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text:
        return
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table(results, runs) + END + after, encoding="utf-8")


def table(results: Mapping[str, dict[str, Any]], runs: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the totals, a line for each source, the networks that do not go through, and a table of each source."""
    listed = [one for one in networks() if one.key in results]
    through = [one for one in listed if results[one.key]["status"] == "exported"]
    share = len(through) / max(1, len(listed))
    missing = len(networks()) - len(listed)
    rest = f" {missing} more are listed and were not run yet." if missing else ""
    return "\n".join(
        [
            "",
            f"{len(through)} of {len(listed)} networks go through ({share:.1%}).{rest}",
            *_measured_on(runs),
            "",
            "| source | go through | CPU seconds: median, most | largest difference |",
            "|---|---|---|---|",
            *(_summary(family, listed, results) for family in _families(listed)),
            *_refused([one for one in listed if one not in through], results),
            *(
                line
                for family in _families(through)
                for line in _details(
                    family, [one for one in through if one.family == family], results
                )
            ),
            "",
            "",
        ]
    )


def _families(listed: Sequence[Listed]) -> list[Family]:
    return [family for family in TITLES if any(one.family == family for one in listed)]


def _measured_on(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return in a sentence which processors and versions the networks were measured with."""
    processors = dict.fromkeys(f"{run['processor']} ({run['cores']} cores)" for run in runs)
    versions: dict[str, dict[str, None]] = {}
    for run in runs:
        for name, version in run["versions"].items():
            versions.setdefault(name, {})[version] = None
    if not runs:
        return []
    tools = ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items())
    return [f"Measured on {' and '.join(processors)}, with {tools}."]


def _summary(
    family: Family, listed: Sequence[Listed], results: Mapping[str, dict[str, Any]]
) -> str:
    own = [results[one.key] for one in listed if one.family == family]
    through = [one for one in own if one["status"] == "exported"]
    seconds = [one["cpu_seconds"] for one in through if "cpu_seconds" in one]
    time = f"{median(seconds):.0f}, {max(seconds):.0f}" if seconds else ""
    worst = f"{max(one['difference'] for one in through):.0e}" if through else ""
    return f"| {TITLES[family]} | {len(through)} of {len(own)} | {time} | {worst} |"


def _refused(others: Sequence[Listed], results: Mapping[str, dict[str, Any]]) -> list[str]:
    if not others:
        return []
    rows = [f"| {one.key} | {_words(results[one.key])} |" for one in others]
    return ["", "| does not go through | why |", "|---|---|", *rows]


def _details(
    family: Family, through: Sequence[Listed], results: Mapping[str, dict[str, Any]]
) -> list[str]:
    """Return the networks of one source that go through, folded."""
    return [
        "",
        f"<details><summary>{TITLES[family]}: {len(through)} networks</summary>",
        "",
        "| network | task | CPU seconds | largest difference | MB |",
        "|---|---|---|---|---|",
        *(_row(one, results[one.key]) for one in through),
        "",
        "</details>",
    ]


def _row(listed: Listed, result: dict[str, Any]) -> str:
    seconds = f"{result['cpu_seconds']:.0f}" if "cpu_seconds" in result else ""
    name = listed.name.partition(" (")[0]
    size = f"{result['megabytes']:.1f}"
    return f"| {name} | {listed.task} | {seconds} | {result['difference']:.0e} | {size} |"


def _words(result: dict[str, Any]) -> str:
    """Return why a network does not go through: the exporter's words, or what happened in place of a refusal."""
    words = " ".join(str(result.get("words", "")).split()).replace("|", "\\|")
    return _BEFORE.get(result["status"], "") + words
