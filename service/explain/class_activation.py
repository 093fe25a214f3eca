"""Class activation maps: which places of a feature map contribute to a class, without a gradient."""

import numpy as np
from numpy.typing import NDArray

from service.explain.heat_map import Heat, positive_heat, relative_heat


def exact_cam(maps: NDArray[np.float32], weights: NDArray[np.float32]) -> Heat:
    """Return what each place adds to a class's logit: the mean over the places plus the bias is the logit.

    Zhou et al., "Learning Deep Features for Discriminative Localization", CVPR 2016.

    Args:
        maps: float32 (C, h, w), the map that the head pools.
        weights: float32 (C,), the class's row of the linear layer.
    """
    return positive_heat(np.tensordot(weights, maps, axes=1).astype(np.float32))


def eigen_cam(maps: NDArray[np.float32], toward: NDArray[np.float32] | None = None) -> Heat:
    """Return the projection of each place on the first principal component of all places. No class is involved.

    Muhammad and Yeasin, "Eigen-CAM", IJCNN 2020. Here the places are centered first: tokens of a transformer have a
    large common part, which would otherwise hide their differences. A component has no sign of its own. The sign is
    chosen so that it points to where the target lies, or else to where the maps are stronger.

    Args:
        maps: float32 (C, h, w).
        toward: float32 (h, w), how much of each place belongs to the target; None where that is unknown.
    """
    channels, height, width = maps.shape
    places = maps.reshape(channels, -1).T.astype(np.float64)
    centered = places - places.mean(axis=0)
    if channels <= len(centered):
        _, vectors = np.linalg.eigh(centered.T @ centered)
        projected = centered @ vectors[:, -1]
    else:
        energies, vectors = np.linalg.eigh(centered @ centered.T)
        projected = vectors[:, -1] * max(0.0, energies[-1]) ** 0.5
    strength = np.linalg.norm(places, axis=1) if toward is None else toward.ravel()
    if projected @ (strength - strength.mean()) < 0:
        projected = -projected
    return relative_heat(projected.reshape(height, width).astype(np.float32))
