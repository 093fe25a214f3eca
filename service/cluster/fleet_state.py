"""What a coordinator keeps for the next one: where models are, what admin calls changed, what is counted."""

from collections.abc import Iterable
from typing import Any, Self

from prometheus_client.core import Metric
from pydantic import BaseModel, ConfigDict

from service.processes.metrics_merge import read_families, write_families


class Placement(BaseModel):
    """Where the replicas of one version are: an application of Ray Serve of this name."""

    model_config = ConfigDict(frozen=True)

    name: str
    version: int
    digest: str
    app: str


class FleetState(BaseModel):
    """A value; each `with_…` returns another one.

    Attributes:
        revision: counts the changes of the models.
        overrides: what admin calls have changed, as JSON; None: nothing.
        placements: one for each version that has replicas.
        gone: by name, what replicas had counted that do not answer; they may come back.
        ended: what replicas that ended had counted; the text of `write_families`.
    """

    model_config = ConfigDict(frozen=True)

    revision: int = 0
    overrides: dict[str, Any] | None = None
    placements: tuple[Placement, ...] = ()
    gone: dict[str, str] = {}
    ended: str = ""

    @classmethod
    def read(cls, text: bytes) -> Self:
        return cls.model_validate_json(text)

    def written(self) -> bytes:
        return self.model_dump_json().encode()

    def placement(self, name: str, version: int, digest: str) -> Placement | None:
        """Return where this graph of this version is; None where it has no replicas."""
        wanted = (name, version, digest)
        return next(
            (one for one in self.placements if (one.name, one.version, one.digest) == wanted), None
        )

    def counted(self) -> list[Metric]:
        """Return what replicas that ended had counted."""
        return read_families(self.ended.encode()) if self.ended else []

    def with_placement(self, placement: Placement) -> Self:
        return self.model_copy(update={"placements": (*self.placements, placement)})

    def without_placement(self, app: str) -> Self:
        left = tuple(one for one in self.placements if one.app != app)
        return self.model_copy(update={"placements": left})

    def with_overrides(self, overrides: dict[str, Any]) -> Self:
        return self.model_copy(update={"revision": self.revision + 1, "overrides": overrides})

    def with_gone(self, gone: dict[str, bytes]) -> Self:
        return self.model_copy(
            update={"gone": {name: text.decode() for name, text in gone.items()}}
        )

    def with_counted(self, families: Iterable[Metric]) -> Self:
        return self.model_copy(update={"ended": write_families(families).decode()})
