import numpy as np
import pytest

from service.explain.class_activation import eigen_cam, exact_cam

NOISE = np.random.default_rng(3)


def test_an_exact_map_and_its_bias_are_the_logit() -> None:
    maps = NOISE.normal(size=(7, 5, 4)).astype(np.float32)
    weights = NOISE.normal(size=7).astype(np.float32)
    heat = exact_cam(maps, weights)
    assert heat.values.mean() == pytest.approx(weights @ maps.mean(axis=(1, 2)), abs=1e-5)


@pytest.mark.parametrize("channels", [3, 200])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_first_component_stands_where_the_maps_are_strong(channels: int, sign: int) -> None:
    maps = NOISE.normal(size=(channels, 9, 9), scale=0.05).astype(np.float32)
    direction = NOISE.normal(size=channels)
    maps[:, 6, 2] += (sign * 5 * direction).astype(np.float32)
    heat = eigen_cam(maps)
    assert divmod(int(heat.values.argmax()), 9) == (6, 2)


def test_the_first_component_points_to_the_target() -> None:
    maps = np.zeros((4, 6, 6), np.float32)
    maps[:, :, :3] = 5
    target = np.zeros((6, 6), np.float32)
    target[2:4, 4:] = 1
    heat = eigen_cam(maps, target)
    assert heat.values[:, 3:].min() > heat.values[:, :3].max()
