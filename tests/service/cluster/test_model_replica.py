"""One replica of a model, without Ray around it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from service.cluster.model_replica import ModelReplica
from service.cluster.replicas import Description, Refused
from service.processes.metrics_merge import read_families
from service.runtime.repository import Servable, scan_repository
from service.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
def servable(repository: Path) -> Servable:
    (found,), _ = scan_repository(repository)
    return found


def replica(
    servable: Servable, tmp_path: Path, *, version: int = 1, digest: str = ""
) -> ModelReplica:
    settings = Settings(
        models=servable.path.parents[2],
        cache=tmp_path / "cache",
        threads=1,
        trial=False,
        device="cpu",
    )
    digest = digest or servable.card.certificate.graph_sha256
    return ModelReplica(settings, ("colors", version), digest, "colors 1 x")


async def test_batches_of_several_ingress_replicas_are_answered_row_by_row(
    servable: Servable, tmp_path: Path
) -> None:
    one = replica(servable, tmp_path)
    await one.load()
    found = one.describe()
    assert isinstance(found, Description)
    assert found.blank.shape == (8, 8, 3)
    red, blue = np.zeros((2, 8, 8, 3), np.uint8), np.zeros((3, 8, 8, 3), np.uint8)
    red[..., 0] = blue[..., 2] = 255
    first, second = await asyncio.gather(one.infer(red), one.infer(blue))
    assert not isinstance(first, Refused)
    assert not isinstance(second, Refused)
    assert first["logits"].argmax(1).tolist() == [0, 0]
    assert second["logits"].argmax(1).tolist() == [2, 2, 2]
    one.require_healthy()
    await one.close()


async def test_it_reports_batches_and_its_process_and_no_requests(
    servable: Servable, tmp_path: Path
) -> None:
    one = replica(servable, tmp_path)
    await one.load()
    name, families = one.report()
    names = {family.name for family in read_families(families)}
    assert name == "colors 1 x"
    assert {"foveal_batch_size", "foveal_batches", "foveal_replicas"} <= names
    assert "foveal_storage_versions" in names, "it fetches its model itself"
    assert not {"foveal_images", "foveal_requests", "foveal_queue_depth"} & names
    await one.close()


@pytest.mark.parametrize(
    ("version", "digest", "words"),
    [(1, "0" * 64, "is another file on this machine"), (2, "", "is not in .* on this machine")],
)
async def test_a_machine_with_another_file_refuses(
    servable: Servable, tmp_path: Path, version: int, digest: str, words: str
) -> None:
    one = replica(servable, tmp_path, version=version, digest=digest)
    await one.load()
    found = one.describe()
    assert isinstance(found, Refused)
    assert found.code == "not_servable"
    with pytest.raises(type(found.error()), match=words):
        raise found.error()
    assert await one.infer(np.zeros((1, 8, 8, 3), np.uint8)) == found
    await one.close()
