"""A change of what is served, and what came of it, as values that one process can send to another."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service.runtime.fleet import ModelPlan


class Change(BaseModel):
    """What shall be different.

    Attributes:
        kind: `reload` takes the folder and `foveal.toml` as they are now; the others are for one model, and `look`
            takes its part of the folder as it is now.
        name: of the model.
        version: the version to load or unload, or that the alias shall lead to; 0: the alias goes. For `look`:
            one whose file is gone, of which nothing is remembered.
        file: whether the file of the version that is unloaded is to go, so that it need not be served.
        alias: its name.
        weights: the new shares.
        shadow: the new shadow, an alias or version; None: none.
        dependents: whether models that need the one that is unloaded go too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal[
        "load_model",
        "load_version",
        "unload_model",
        "unload_version",
        "alias",
        "weights",
        "shadow",
        "look",
        "reload",
    ]
    name: str = ""
    version: int = 0
    file: bool = False
    alias: str = ""
    weights: Mapping[str, float] = {}
    shadow: str | None = None
    dependents: bool = False

    def __str__(self) -> str:
        of = f" of {self.name}" if self.name else ""
        version = f" version {self.version}" if self.version else ""
        return f"{self.kind}{of}{version}"


class ChangeReport(BaseModel):
    """What came of a change; versions as `name:version`.

    Attributes:
        loaded: what is served now and was not before, or is another file.
        removed: what is served no more.
        refused: what lies in the folder and can not be served, with the reason.
        plans: by name, what is wanted of a model now, where that is something else than before.
        defaults: by task, what answers it now when a request names no model, where that is another; empty: nothing.
        drained: whether the memory of what was removed is free already; else it goes when its last request ends.
    """

    model_config = ConfigDict(frozen=True)

    loaded: list[str] = []
    removed: list[str] = []
    refused: dict[str, str] = {}
    plans: dict[str, ModelPlan] = {}
    defaults: dict[str, str] = {}
    drained: bool = True

    def followed_by(self, later: "ChangeReport") -> "ChangeReport":
        """Return what came of this change and a later one together."""
        gone = set(later.removed)
        return ChangeReport(
            loaded=[*(one for one in self.loaded if one not in gone), *later.loaded],
            removed=[*self.removed, *(one for one in later.removed if one not in self.loaded)],
            refused=later.refused,
            plans=self.plans | later.plans,
            defaults=self.defaults | later.defaults,
            drained=self.drained and later.drained,
        )

    def words(self) -> str:
        """Return which versions changed, for the log."""
        found = {"loaded": self.loaded, "removed": self.removed, "refused": self.refused}
        return ", ".join(f"{what} {', '.join(some) or 'nothing'}" for what, some in found.items())
