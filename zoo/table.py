"""The results → a table in exporter/README.md, between two marks."""

from collections.abc import Mapping
from pathlib import Path
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


def write_table(results: Mapping[str, dict[str, Any]]) -> None:
    """Replace the table in the README by that of these results; without marks in the README, nothing is written."""
    text = README.read_text(encoding="utf-8")
    if BEGIN not in text:
        return
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + table(results) + END + after, encoding="utf-8")


def table(results: Mapping[str, dict[str, Any]]) -> str:
    """Return the sentence with the totals, a table of the exported networks, and one of the others."""
    listed = [one for one in networks() if one.key in results]
    through = [one for one in listed if results[one.key]["status"] == "exported"]
    share = len(through) / max(1, len(listed))
    total = (
        f"{len(through)} of {len(listed)} networks go through ({share:.1%}); "
        f"{len(networks()) - len(listed)} more are listed and were not run."
    )
    lines = [
        "",
        total,
        "",
        "| source | networks: CPU seconds, largest difference |",
        "|---|---|",
    ]
    for family, title in TITLES.items():
        cells = [_cell(one, results[one.key]) for one in through if one.family == family]
        if cells:
            lines.append(f"| {title} | {'; '.join(cells)} |")
    others = [one for one in listed if one not in through]
    if others:
        lines += ["", "| does not go through | the exporter's words |", "|---|---|"]
        lines += [f"| {one.key} | {_words(results[one.key])} |" for one in others]
    return "\n".join([*lines, "", ""])


def _cell(listed: Listed, result: dict[str, Any]) -> str:
    seconds = f"{result['cpu_seconds']:.0f} s, " if "cpu_seconds" in result else ""
    return f"{listed.name} {seconds}{result['difference']:.0e}"


def _words(result: dict[str, Any]) -> str:
    words = " ".join(str(result.get("words", "")).split()).replace("|", "\\|")
    status = result["status"]
    return words if status == "refused" else f"{status}: {words}"
