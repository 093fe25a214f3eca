import pytest

from exporter.training.compositions import Material, read_material


@pytest.fixture(scope="session")
def material() -> tuple[Material, Material]:
    """What the U-Net learns from, and what is held out."""
    return read_material()
