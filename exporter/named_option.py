"""The option that names files is named in what is wrong with these files."""

from collections.abc import Iterator
from contextlib import contextmanager

from exporter.errors import RecipeError
from service.errors import LabelsError


@contextmanager
def naming_option(option: str) -> Iterator[None]:
    """Name an option in what is wrong with its folder, its images or their labels.

    Raises:
        RecipeError: for a LabelsError in the block.
    """
    try:
        yield
    except LabelsError as error:
        raise RecipeError(f"{option} {error}") from error
