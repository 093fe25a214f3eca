"""The results of a run as one JSON file, written whole after each finding: what was found is never lost."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import Ending

FORMAT = 1
FILE = "gpu.json"
RUNNING, DONE = "running", "done"


class Journal:
    """What each step found.

    A journal that exists is continued: steps that are done are kept, all others run again.

    Args:
        folder: where the file is, or will be.
        again: begin with an empty journal, whatever is there.

    Attributes:
        content: what is written, as plain values of JSON.
        forgotten: why nothing of an older journal is kept; empty where it is, or where there was none.
    """

    def __init__(self, folder: Path, *, again: bool = False) -> None:
        self.file = folder / FILE
        self.forgotten = ""
        found = None if again else self._read()
        self.content: dict[str, Any] = found or {"format": FORMAT, "steps": {}}

    def _read(self) -> dict[str, Any] | None:
        try:
            found = json.loads(self.file.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            self.forgotten = f"{self.file} is no JSON"
            return None
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            self.forgotten = f"{self.file} has another format than {FORMAT}"
            return None
        return found

    def settle(self, **facts: object) -> None:
        """State what the run is about; the steps of a run on another device or machine are forgotten."""
        for name, value in facts.items():
            if self.content.setdefault(name, value) != value:
                kept = self.content["steps"].get("environment")
                self.content["steps"] = {"environment": kept} if kept else {}
                self.forgotten = f"the {name} was {self.content[name]!r}, and is {value!r} now"
        self.content.update(facts)
        self._write()

    def is_done(self, step: str) -> bool:
        return bool(self.content["steps"].get(step, {}).get("status") == DONE)

    def findings(self, step: str) -> dict[str, Any]:
        found: dict[str, Any] = self.content["steps"].get(step, {}).get("findings", {})
        return found

    def begin(self, step: str, **facts: object) -> None:
        began = datetime.now(UTC).isoformat(timespec="seconds")
        self.content["steps"][step] = {
            "status": RUNNING,
            "began": began,
            **facts,
            "findings": {},
        }
        self._write()

    def add(self, step: str, found: Mapping[str, Any]) -> None:
        """Add what a step found to what it found before."""
        merge(self.content["steps"][step]["findings"], found)
        self._write()

    def end(self, step: str, ending: Ending) -> None:
        entry = self.content["steps"][step]
        entry["status"] = ending.status
        entry["seconds"] = round(ending.seconds, 1)
        entry["detail"] = ending.detail
        self._write()

    def _write(self) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(".new")
        fresh.write_text(json.dumps(self.content, indent=1, ensure_ascii=False) + "\n")
        fresh.replace(self.file)


def merge(into: dict[str, Any], found: Mapping[str, Any]) -> None:
    """Add values to nested mappings: mappings are merged, everything else is replaced."""
    for key, value in found.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value
