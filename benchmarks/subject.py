"""What all contenders of a case share: the network's file, the request's body, the load generator, the cores."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.contenders import CACHE
from benchmarks.images import Body
from benchmarks.load import Generator, LoadRun, Outcome
from benchmarks.models import ensure_model


@dataclass(frozen=True, slots=True)
class Subject:
    case: Case
    model: Path
    body: Body
    generator: Generator
    cores: int

    def load(self, url: str, *, clients: int, seconds: float) -> Outcome:
        """Send the body to a URL with this number of concurrent clients."""
        body, few = self.body, self.case.few_answers
        return self.generator.run(LoadRun(url, body.file, body.content_type, clients, seconds, few))

    def log(self, name: str) -> Path:
        return CACHE / "logs" / f"{self.case.name}-{name}.log"


def make_subject(case: Case, generator: Generator, cores: int) -> Subject:
    """Return a case's subject; export its network first if only the benchmark uses it.

    Raises:
        ExportError: the export failed.
    """
    body = Body(case.image, CACHE / "bodies")
    return Subject(case, ensure_model(case.model), body, generator, cores)
