"""How timm names resize policies and interpolations, and our names; neither timm nor PyTorch is loaded for it."""

from typing import get_args

from service.card import Interpolation, ResizePolicy

POLICIES: dict[str, ResizePolicy] = {"center": "crop", "squash": "stretch", "border": "letterbox"}
"""Our resize policies by timm's `crop_mode`."""

INTERPOLATIONS: frozenset[Interpolation] = frozenset(get_args(Interpolation))
"""Those of timm that are ours; timm's `random` is none."""
