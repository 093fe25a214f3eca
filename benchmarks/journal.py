"""What a run has measured so far, a line of JSON each: a run that was killed goes on where it ended."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.results import CaseResult, Facts
from benchmarks.statistics import Sample


class Journal:
    """The rounds and facts of one run: the same machine, commit and options.

    A round is kept whole or not at all, because ratios are taken within it.

    Args:
        folder: where runs that have not ended are kept.
        identity: everything on which the figures depend; another one is another run.
        today: when the run begins, if it is new.
        again: forget what an earlier run with this identity has measured.

    Attributes:
        date: when the run began.
        continued: how many rounds an earlier run has left.
    """

    def __init__(
        self, folder: Path, identity: Mapping[str, object], *, today: str, again: bool = False
    ) -> None:
        key = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]
        self.file = folder / f"{key}.jsonl"
        self.date = today
        self._cases: dict[str, CaseResult] = {}
        if again:
            self.end()
        lines = self._lines()
        for line in lines:
            self._read(line)
        self.continued = sum(
            len(rounds) for result in self._cases.values() for rounds in result.rounds.values()
        )
        if not lines:
            lines = [{"began": today, "of": dict(identity)}]
        folder.mkdir(parents=True, exist_ok=True)
        self.file.write_text("".join(map(_as_line, lines)))

    def result_of(self, case: str) -> CaseResult:
        """Return what is known of a case; it grows as rounds are added."""
        return self._cases.setdefault(case, CaseResult(case))

    def keep_facts(self, case: str) -> None:
        """Keep the facts of a case as they are now."""
        facts = self.result_of(case).facts
        self._write({"case": case, "facts": {name: asdict(one) for name, one in facts.items()}})

    def add_round(self, case: str, clients: int, samples: Mapping[str, Sample]) -> None:
        """Add a round: the samples of all contenders of a number of clients."""
        self.result_of(case).rounds.setdefault(clients, []).append(dict(samples))
        known = {name: asdict(sample) for name, sample in samples.items()}
        self._write({"case": case, "clients": clients, "round": known})

    def forget_rounds(self, case: str, clients: int) -> None:
        """Forget the rounds of other contenders than those that run now: no ratio could be taken between them."""
        self.result_of(case).rounds.pop(clients, None)
        self._write({"case": case, "clients": clients, "round": None})

    def end(self) -> None:
        """Remove the file: the run is complete, and the next one measures anew."""
        self.file.unlink(missing_ok=True)

    def _lines(self) -> list[dict[str, Any]]:
        """Return the lines of the file; one that was being written when the run was killed is left out."""
        if not self.file.exists():
            return []
        whole, _, _ = self.file.read_text().rpartition("\n")
        return [json.loads(line) for line in whole.splitlines()]

    def _write(self, line: Mapping[str, object]) -> None:
        with self.file.open("a") as file:
            file.write(_as_line(line))

    def _read(self, line: dict[str, Any]) -> None:
        if "began" in line:
            self.date = line["began"]
            return
        result = self.result_of(line["case"])
        if "facts" in line:
            result.facts = {name: Facts(**found) for name, found in line["facts"].items()}
        elif line["round"] is None:
            result.rounds.pop(line["clients"], None)
        else:
            samples = {name: Sample(**sample) for name, sample in line["round"].items()}
            result.rounds.setdefault(line["clients"], []).append(samples)


def _as_line(content: Mapping[str, object]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
