"""Where models are found: a folder here, or a place elsewhere whose versions are brought here first."""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from service.runtime.repository import Refusal, Servable

Key = tuple[str, int]
"""The name and the version of a model."""
Found = tuple[tuple[Servable, ...], tuple[Refusal, ...]]


class ModelStorage(Protocol):
    """Where models are found. All methods block.

    Attributes:
        name: for messages; it holds no secret.
        folder: of a model repository, as it was at the last `refresh`; always the same path.
        is_folder: whether that is where the models lie, so that they can be put there and removed.
    """

    @property
    def name(self) -> str: ...
    @property
    def folder(self) -> Path: ...
    @property
    def is_folder(self) -> bool: ...

    def refresh(self, in_use: Collection[Path] = (), also: Collection[Key] = ()) -> None:
        """Look at the models again.

        Args:
            in_use: files of servables that must stay.
            also: versions that are wanted whatever `foveal.toml` says.

        Raises:
            ConfigurationError: they can not be reached; nothing has changed.
        """

    def scan(self) -> Found:
        """Return what can be served, by name and ascending version, and what can not.

        Raises:
            ConfigurationError: there is no such folder.
        """

    def close(self) -> None:
        """Let everything go."""
