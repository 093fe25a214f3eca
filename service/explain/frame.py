"""The network's input frame, and the plain frame that hides it in perturbed copies."""

import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]
"""An image as the network gets it, uint8 (H, W, 3), RGB."""


def mean_color(frame: Frame) -> Frame:
    """Return a frame of the same shape filled with the mean color: of all colors the least surprising one."""
    color = np.rint(frame.reshape(-1, 3).mean(axis=0)).astype(np.uint8)
    return np.broadcast_to(color, frame.shape).copy()
