"""The folder that models can be put into and removed from, where there is one."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from service.errors import RefusedModelError
from service.storage.storage import ModelStorage
from service.whole_call import whole_call

FETCHED = "The models are fetched from a model storage, which this service never changes."


class RepositoryFolder:
    """What admin calls change of the models' files.

    Args:
        storage: where the models are found.
        access: tells whether this process may use a path so, as `os.access`.
    """

    def __init__(
        self, storage: ModelStorage, access: Callable[[Path, int], bool] = os.access
    ) -> None:
        self._storage = storage
        self._access = access

    @property
    def path(self) -> Path | None:
        """The folder; None where the models are fetched from elsewhere."""
        return self._storage.folder if self._storage.is_folder else None

    def require(self) -> Path:
        """Return the folder.

        Raises:
            RefusedModelError: the models are fetched from elsewhere.
        """
        if self.path is None:
            raise RefusedModelError(
                f"{FETCHED} Put the files there or remove them there, then reload."
            )
        return self.path

    def require_removable(self, name: str, version: int) -> None:
        """Check that a version can be removed, before it is taken out of service for that.

        Raises:
            RefusedModelError: the folder can not be written, or there is none.
        """
        folder = self.require() / name / str(version)
        for path in (folder, folder.parent):
            if path.exists() and not self._access(path, os.W_OK | os.X_OK):
                raise RefusedModelError(
                    f"The file of {name} version {version} can not be removed: this service may not write its folder. "
                    "Nothing was changed. Send the call without file=true to take the version out of service only."
                )

    async def remove(self, name: str, version: int) -> None:
        """Remove a version, which is not served any more.

        Raises:
            RefusedModelError: the folder can not be written, or there is none.
        """
        try:
            await whole_call(shutil.rmtree, self.require() / name / str(version))
        except OSError as error:
            raise RefusedModelError(
                f"{name} version {version} is not served any more, and its file can not be removed: "
                f"{error.strerror or error}."
            ) from error
