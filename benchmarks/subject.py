"""What everyone in a case is measured with: the network's file, the request's body, the load generator, the cores."""

from dataclasses import dataclass
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.contenders import CACHE
from benchmarks.images import Body
from benchmarks.load import Generator, Outcome, Shot
from benchmarks.models import ensure_model


@dataclass(frozen=True, slots=True)
class Subject:
    case: Case
    model: Path
    body: Body
    generator: Generator
    cores: int

    def fire(self, url: str, *, clients: int, seconds: float) -> Outcome:
        """Send the body to a URL by so many clients at once."""
        body, few = self.body, self.case.few_answers
        return self.generator.fire(Shot(url, body.file, body.content_type, clients, seconds, few))

    def log(self, name: str) -> Path:
        return CACHE / "logs" / f"{self.case.name}-{name}.log"


def make_subject(case: Case, generator: Generator, cores: int) -> Subject:
    """Return a case's subject, exporting its network where that is the benchmark's own.

    Raises:
        ExportError: the network can not be had.
    """
    body = Body(case.image, CACHE / "bodies")
    return Subject(case, ensure_model(case.model), body, generator, cores)
