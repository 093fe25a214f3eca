"""FOVEAL_PRECISION over HTTP: what serves, what was measured, and that `exact` knows nothing of it."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from service.engine import Engine, open_engine
from service.errors import ConfigurationError
from service.response_cache import CachedResult
from service.runtime.change import Change
from service.runtime.job import JobResult
from service.settings import Settings
from service.tasks.classify import ClassifyOptions
from tests.images import encode
from tests.live import Live, serve
from tests.servables import color_model, write_servable
from tests.variants import color_frames, scaled_model, write_variant

SINES = 400
"""How many the slow network computes of each pixel; its variant computes none, so that it is faster on any machine."""


def slow_model() -> onnx.ModelProto:
    """Return the network of colors with work that changes nothing: long chains of sines of its pixels, times zero."""
    model = color_model()
    graph = model.graph
    nodes = list(graph.node)
    name = "pixels"
    extra = []
    for index in range(SINES):
        extra.append(helper.make_node("Sin", [name], [f"sine{index}"]))
        name = f"sine{index}"
    extra += [
        helper.make_node("Mul", [name, "nothing"], ["zeros"]),
        helper.make_node("Add", ["pixels", "zeros"], ["same"]),
    ]
    mean = next(node for node in nodes if node.op_type == "ReduceMean")
    mean.input[0] = "same"
    del graph.node[:]
    graph.node.extend([nodes[0], *extra, *nodes[1:]])
    graph.initializer.append(numpy_helper.from_array(np.array(0, np.float32), "nothing"))
    return model


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    path = write_servable(root, model=slow_model())
    write_variant(path, "int8", scaled_model(1.02))
    wrong = write_servable(root, "wrong", model=slow_model())
    write_variant(wrong, "int8", scaled_model(-1))
    return root


def state(live: Live, name: str) -> dict[str, Any]:
    (found,) = httpx.get(f"{live.url}/v1/models/{name}").json()["models"]
    return dict(found)


def probability(live: Live, name: str) -> float:
    """Return the probability of the best class of a frame of red, whose logits the networks know exactly."""
    body = encode(Image.fromarray(color_frames(1)[0]))
    answer = httpx.post(f"{live.url}/v1/classify?model={name}&top_k=1", content=body)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["results"][0]["predictions"][0]["probability"])


def softmax(factor: float) -> float:
    powers = np.exp(color_frames(1)[0].mean(axis=(0, 1)) / 25.5 * factor)
    return float(powers.max() / powers.sum())


def test_fast_serves_the_variant_that_is_proved_and_says_so_everywhere(
    models: Path, tmp_path: Path
) -> None:
    # With a response cache: the two have the same graph and card, but answers of int8 are none of fp32.
    fast: dict[str, Any] = {"precision": "fast", "device": "cpu", "response_cache_bytes": 1 << 20}
    with serve(models=models, cache=tmp_path, **fast) as live:
        served, refused = state(live, "colors"), state(live, "wrong")
        assert probability(live, "colors") == pytest.approx(softmax(1.02), abs=1e-5)
        assert probability(live, "wrong") == pytest.approx(softmax(1), abs=1e-5)
        labels = {"model": "colors", "version": "1", "precision": "int8", "device": "cpu"}
        assert live.sample("foveal_model_info", task="classify", **labels) == 1
        assert live.sample("foveal_precision_speedup", **labels) > 1.05
        assert live.sample("foveal_precision_agreement", figure="top_class", **labels) == 1

    assert (served["precision"], served["device"]) == ("int8", "cpu")
    plain, variant = served["choice"]["ways"]
    assert (plain["precision"], plain["serves"], plain["speedup"]) == ("fp32", False, 1)
    assert (variant["precision"], variant["serves"]) == ("int8", True)
    assert variant["agreement"]["clear"] == served["choice"]["frames"] == 12
    assert (refused["precision"], refused["choice"]["ways"][0]["serves"]) == ("fp32", True)
    assert "top_class 0 where at least 1 is needed" in refused["choice"]["ways"][1]["refused"]
    assert str(models) not in str(refused)


def test_exact_serves_the_file_itself_and_reads_no_variant(models: Path, tmp_path: Path) -> None:
    with serve(models=models, cache=tmp_path / "cache") as live:
        found = state(live, "colors")
        assert (found["precision"], found["choice"]) == ("fp32", None)
        assert probability(live, "colors") == pytest.approx(softmax(1), abs=1e-5)
    assert not (tmp_path / "cache").exists()


def test_what_must_have_the_same_bits_is_not_chosen_by_measuring(models: Path) -> None:
    settings = Settings(models=models, precision="fast", deterministic=True)
    with pytest.raises(ConfigurationError, match="Leave one of them out"):
        Engine(settings)


@pytest.mark.anyio
async def test_a_reload_serves_a_variant_that_was_put_beside_a_served_version(
    tmp_path: Path,
) -> None:
    root = tmp_path / "models"
    servable = write_servable(root, model=slow_model())
    settings = Settings(models=root, precision="fast", device="cpu", cache=tmp_path / "cache")
    async with open_engine(settings) as engine:
        assert engine.model("colors").precision == "fp32"
        reload = Change(kind="reload")
        assert (await engine.changes.change(reload)).loaded == []
        write_variant(servable, "int8", scaled_model(1.02))
        assert (await engine.changes.change(reload)).loaded == ["colors:1"]
        assert engine.model("colors").precision == "int8"
        assert (await engine.changes.change(reload)).loaded == []
        servable.with_name("int8.onnx").unlink()
        assert (await engine.changes.change(reload)).loaded == ["colors:1"]
        assert engine.model("colors").precision == "fp32"


@pytest.mark.anyio
async def test_an_answer_that_is_kept_is_one_of_the_precision_that_serves(tmp_path: Path) -> None:
    root = tmp_path / "models"
    servable = write_servable(root, model=slow_model())
    settings = Settings(
        models=root,
        precision="fast",
        device="cpu",
        cache=tmp_path / "cache",
        response_cache_bytes=1 << 20,
    )
    body = encode(Image.fromarray(color_frames(1)[0]))

    async def expect(factor: float, kept: str) -> None:
        """Check the probability of the best class, and whether it was kept."""
        call = engine.dispatch.call(
            engine.task("classify"), ClassifyOptions(top_k=1), model="colors"
        )
        (outcome,) = await call.run([body], timeout_seconds=20)
        assert isinstance(outcome, JobResult)
        probability = outcome.value["predictions"][0]["probability"]
        assert probability == pytest.approx(softmax(factor), abs=1e-5)
        assert (outcome.origin if isinstance(outcome, CachedResult) else "miss") == kept

    async with open_engine(settings) as engine:
        await expect(1, "miss")
        await expect(1, "hit")
        write_variant(servable, "int8", scaled_model(1.02))
        await engine.changes.change(Change(kind="reload"))
        await expect(1.02, "miss")
        await expect(1.02, "hit")
        servable.with_name("int8.onnx").unlink()
        await engine.changes.change(Change(kind="reload"))
        await expect(1, "hit")  # it is the network of before
