"""The networks that are measured, as PyTorch has them, with random weights: speed does not depend on them."""

from typing import Any

import torch
import torchvision
from torch import nn

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Probabilities(nn.Module):
    """uint8 (N, H, W, 3) → probabilities float32 (N, K), as the servable computes them."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, network: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.network = network
        self.dtype = dtype
        column = (1, 3, 1, 1)
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in STD]).view(column))
        pairs = zip(MEAN, STD, strict=True)
        self.register_buffer("shift", torch.tensor([-m / s for m, s in pairs]).view(column))

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        pixels = frames.permute(0, 3, 1, 2).float() * self.scale + self.shift
        logits: torch.Tensor = self.network(pixels.to(self.dtype))
        return logits.float().softmax(dim=1)


def make(name: str, *, channels_last: bool, dtype: torch.dtype, device: str) -> Probabilities:
    """Return a network in evaluation mode on the device.

    Raises:
        ImportError: it is timm's, which is not installed.
    """
    network: Any
    if name == "resnet50":
        network = torchvision.models.resnet50(weights=None)
    else:
        import timm  # noqa: PLC0415  # it may be missing, which costs this network only

        network = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.eval().to(device=device, dtype=dtype, memory_format=layout)
    return Probabilities(network, dtype).eval().to(device)
