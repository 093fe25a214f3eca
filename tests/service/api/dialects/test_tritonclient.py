"""NVIDIA's own client, in both of its forms, makes every call that is announced."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from tests.live import Live, serve
from tests.servables import write_servable

triton = pytest.importorskip("tritonclient.http")
aio = pytest.importorskip("tritonclient.http.aio")

PIXELS = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_servable(folder)
    return folder


@pytest.fixture(scope="module")
def live(root: Path) -> Iterator[Live]:
    with serve(models=root) as service:
        yield service


def truth(root: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
    session = ort.InferenceSession(root / "colors/1/model.onnx", providers=["CPUExecutionProvider"])
    [logits] = session.run(["logits"], {"image": PIXELS})
    return np.asarray(logits)


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
def test_the_blocking_client(live: Live, root: Path, coding: str | None) -> None:
    client = triton.InferenceServerClient(live.url.removeprefix("http://"))
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("colors", "1")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata()["name"] == "foveal"
    metadata = client.get_model_metadata("colors")
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]
    config = client.get_model_config("colors")
    assert config["input"][0]["dims"] == [8, 8, 3]
    assert client.get_model_repository_index()[0]["state"] == "READY"
    assert client.get_inference_statistics("colors")["model_stats"][0]["version"] == "1"
    given = triton.InferInput("image", list(PIXELS.shape), "UINT8")
    given.set_data_from_numpy(PIXELS, binary_data=coding is not None)
    asked = {"request_compression_algorithm": coding, "response_compression_algorithm": coding}
    for outputs in (None, [triton.InferRequestedOutput("logits", binary_data=False)]):
        answer = client.infer(
            "colors", [given], outputs=outputs, priority=2, timeout=10**7, **asked
        )
        np.testing.assert_allclose(answer.as_numpy("logits"), truth(root), rtol=1e-5)
    best = [triton.InferRequestedOutput("logits", class_count=1)]
    [[first], _] = client.infer("colors", [given], outputs=best).as_numpy("logits")
    assert first.decode().split(":")[2] in {"red", "green", "blue"}
    with pytest.raises(Exception, match="Request for unknown model"):
        client.infer("nothing", [given])
    client.close()


@pytest.mark.anyio
async def test_the_asynchronous_client(live: Live, root: Path) -> None:
    async with aio.InferenceServerClient(live.url.removeprefix("http://")) as client:
        assert await client.is_server_ready()
        assert (await client.get_server_metadata())["name"] == "foveal"
        assert (await client.get_model_metadata("colors"))["versions"] == ["1"]
        assert (await client.get_model_config("colors"))["name"] == "colors"
        assert (await client.get_inference_statistics())["model_stats"]
        assert await client.get_model_repository_index()
        given = aio.InferInput("image", list(PIXELS.shape), "UINT8")
        given.set_data_from_numpy(PIXELS)
        answer = await client.infer("colors", [given])
        np.testing.assert_allclose(answer.as_numpy("logits"), truth(root), rtol=1e-5)
