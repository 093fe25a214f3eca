"""The ResNet-50 made without PyTorch, held against torchvision's own with the same weights."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from benchmarks.gpu.resnet import MEAN, STD, Weights, random_weights, resnet50

SIDE = 64


@pytest.fixture(scope="module")
def session() -> ort.InferenceSession:
    model = resnet50(random_weights(), SIDE)
    onnx.checker.check_model(model)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


@pytest.mark.slow
def test_with_torchvisions_weights_it_computes_what_torchvisions_does() -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    network = torchvision.models.resnet50(weights=None).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # else they would all be one and the same
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.0)
            module.bias.data.normal_(0, 0.1)
    given = images(2)
    pixels = torch.from_numpy(given).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        truth = network(torchvision.transforms.functional.normalize(pixels, MEAN, STD)).numpy()

    made = ort.InferenceSession(
        resnet50(folded(network.state_dict()), SIDE).SerializeToString(),
        providers=["CPUExecutionProvider"],
    )
    (logits,) = made.run(["logits"], {"image": given})

    assert np.abs(logits - truth).max() < 1e-4 * np.abs(truth).max()


def folded(state: dict[str, object]) -> Weights:
    """Fold each batch norm into the convolution before it: y = (x − mean) / √(var + ε) · weight + bias."""
    values = {name: np.asarray(value, np.float32) for name, value in state.items()}
    found = {"fc.weight": values["fc.weight"], "fc.bias": values["fc.bias"]}
    for name, kernel in values.items():
        if kernel.ndim != 4:
            continue
        layer = name.removesuffix(".weight")
        *parents, last = layer.split(".")
        norm = ".".join([*parents, "1" if last == "0" else last.replace("conv", "bn")])
        gain = values[f"{norm}.weight"] / np.sqrt(values[f"{norm}.running_var"] + 1e-5)
        found[name] = kernel * gain[:, None, None, None]
        found[f"{layer}.bias"] = values[f"{norm}.bias"] - values[f"{norm}.running_mean"] * gain
    return found


def test_random_weights_are_the_same_in_every_run_and_as_many_as_published() -> None:
    first, second = random_weights(), random_weights()

    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    # 25,557,032 parameters (torchvision's documentation), of which 53,120 are the batch norms' 2 × 26,560.
    weights = sum(v.size for n, v in first.items() if n != "fc.bias" and n.endswith("weight"))
    assert weights + first["fc.bias"].size == 25_557_032 - 53_120


def test_random_outputs_are_numbers_and_probabilities(session: ort.InferenceSession) -> None:
    logits, probabilities, features = session.run(
        ["logits", "probabilities", "features"], {"image": images(3)}
    )

    assert (logits.shape, features.shape) == ((3, 1000), (3, 2048))
    assert 0.5 < logits.std() < 50
    assert np.isfinite(features).all()
    assert np.allclose(probabilities.sum(axis=1), 1, atol=1e-5)
