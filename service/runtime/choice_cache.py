"""Choices that were measured before, by everything on which they depend: nothing is measured twice on one machine."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from service.runtime.candidates import Candidate
from service.runtime.chip import Chip
from service.runtime.choice import Choice
from service.runtime.kept_file import keep
from service.runtime.repository import Servable
from service.runtime.session import RUNTIME_VERSION, openvino_version

_FORMAT = 1
"""Another number lets everything be measured again: after a change of what is measured, or of its limits."""
_LARGEST = 1 << 20
"""Bytes of a file of a choice; a larger one is none."""


@dataclass(frozen=True, slots=True)
class ChoiceCache:
    """Keeps choices in a folder, a file each.

    Args:
        folder: made when needed.
    """

    folder: Path

    def key(self, servable: Servable, ways: Sequence[Candidate], chip: Chip) -> str:
        """Return the digest of all that a choice depends on: graphs, cards, processor, devices and versions."""
        parts: list[object] = [_FORMAT, RUNTIME_VERSION, openvino_version(), str(chip)]
        parts.append(servable.card.model_dump_json())
        for way in ways:
            parts.append((way.precision, way.arithmetic, way.seven_bits, way.exact_products))
            parts.append((way.device.name, way.device.detail, way.servable.card.model_dump_json()))
        return hashlib.sha256(repr(parts).encode()).hexdigest()

    def read(self, key: str, count: int) -> Choice | None:
        """Return the choice that is kept, None where there is none of so many ways."""
        path = self._path(key)
        try:
            if path.stat().st_size > _LARGEST:
                return None
            choice = Choice.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None
        serving = sum(way.serves for way in choice.ways)
        return choice if len(choice.ways) == count and serving == 1 else None

    def write(self, key: str, choice: Choice) -> None:
        """Keep a choice; where the folder can not be written, the next start measures again."""
        keep(self._path(key), choice.model_dump_json(), "precisions")

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"
