"""What nothing states of a network besides mean and std: its softmax, the order of its colors and its resize."""

from exporter.network import Network, Unstated
from exporter.recipe import Recipe

_RESIZED = {
    "crop": "resized by their shorter side and cropped to the center",
    "stretch": "stretched",
    "letterbox": "resized to fit, with a border",
}


def unstated_parts(recipe: Recipe, network: Network) -> tuple[Unstated, ...]:
    """Return what neither the source nor the recipe states of a network whose head is settled."""
    stated_pixels = recipe.pixels.model_fields_set if recipe.pixels else set()
    stated_input = recipe.input.model_dump(exclude_none=True).keys()
    is_open: dict[Unstated, bool] = {
        "softmax": getattr(network.head, "assumes_softmax", False),
        "color": network.pixels.channels > 1 and "color" not in stated_pixels,
        "resize": stated_input.isdisjoint({"resize", "shorter_side"}),
    }
    return tuple(part for part in network.silent if is_open[part])


def unstated_hints(parts: tuple[Unstated, ...], network: Network) -> list[str]:
    """Return one line with what is assumed of these parts, and the options that state it."""
    resize = network.image_input.resize
    one, other = (
        ("pixel", "--activation sigmoid")
        if network.head.task == "segment"
        else ("image", "--multi-label")
    )
    resizes = " or ".join(name for name in _RESIZED if name != resize)
    words = {
        "softmax": f"each {one} has one class, by a softmax over all (else {other})",
        "color": f"colors in the order {network.pixels.color.upper()} (else --color bgr)",
        "resize": f"images {_RESIZED[resize]} (else --resize {resizes})",
    }
    if not parts:
        return []
    listed = "; ".join(words[part] for part in parts)
    return [f"ASSUMED, since nothing states it, and the certificate can not show it: {listed}"]
