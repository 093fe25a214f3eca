"""What all contenders of a case share: the network's file, the request's body, the load generator, the cores."""

from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.cases import Case
from benchmarks.contenders import CACHE
from benchmarks.images import Body
from benchmarks.load import Generator, LoadRun, Outcome
from benchmarks.models import ensure_model, ensure_variant


@dataclass(frozen=True, slots=True)
class Subject:
    case: Case
    model: Path
    body: Body
    generator: Generator
    cores: int
    in_int8: bool = False
    """Whether `model` is the variant in int8."""

    def load(self, url: str, *, clients: int, seconds: float) -> Outcome:
        """Send the body to a URL with this number of concurrent clients."""
        body, few = self.body, self.case.few_answers
        return self.generator.run(LoadRun(url, body.file, body.content_type, clients, seconds, few))

    def log(self, name: str) -> Path:
        file = "-int8" if self.in_int8 else ""
        return CACHE / "logs" / f"{self.case.name}-{name}{file}.log"


def make_subject(case: Case, generator: Generator, cores: int) -> Subject:
    """Return a case's subject; export its network first if only the benchmark uses it.

    Raises:
        ExportError: the export failed.
    """
    body = Body(case.image, CACHE / "bodies")
    return Subject(case, ensure_model(case.model, fast=case.fast), body, generator, cores)


def in_int8(subject: Subject) -> Subject:
    """Return the same with the file of the variant in int8."""
    return replace(subject, model=ensure_variant(subject.case.model), in_int8=True)
