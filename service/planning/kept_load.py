"""Full loads that were measured before, by everything on which they depend: `auto` measures once on a machine."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from service.planning.full_load import FullLoad
from service.runtime.chip import this_chip
from service.runtime.kept_file import keep
from service.runtime.repository import Servable
from service.runtime.session import RUNTIME_VERSION, openvino_version

_FORMAT = 1
"""Another number lets everything be measured again: after a change of what is measured."""
_LARGEST = 1 << 16
"""Bytes of a file of a load; a larger one is none."""
_LOAD = TypeAdapter(FullLoad)


@dataclass(frozen=True, slots=True)
class LoadCache:
    """Keeps full loads in a folder, a file each.

    Args:
        folder: made when needed.
    """

    folder: Path

    def key(self, servable: Servable, environment: Mapping[str, str]) -> str:
        """Return the digest of all that a load depends on: graph, card, settings, processor and versions."""
        parts: list[object] = [_FORMAT, version("foveal"), RUNTIME_VERSION, openvino_version()]
        parts += [platform.python_version(), str(this_chip()), sorted(environment.items())]
        parts += [servable.name, servable.card.model_dump_json()]
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def read(self, key: str) -> FullLoad | None:
        """Return the load that is kept, None where there is none."""
        path = self._path(key)
        try:
            if path.stat().st_size > _LARGEST:
                return None
            return _LOAD.validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, key: str, load: FullLoad) -> None:
        """Keep a load; where the folder can not be written, the next start measures again."""
        keep(self._path(key), json.dumps(asdict(load)), "the workers' shares")

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
