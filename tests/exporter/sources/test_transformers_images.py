"""What an image processor of Transformers does to an image is read off its fields and held against what it computes."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from exporter.errors import SourceError
from exporter.sources.transformers_images import processed_images
from exporter.transforms import pixel_values
from service.card import ImageInput
from tests.images import photograph

tf = pytest.importorskip(
    "transformers", reason="needs Transformers: pip install -e '.[transformers]'"
)

pytestmark = pytest.mark.filterwarnings("ignore")  # the library's own, about its own internals

SIDE = 64
SQUARE = {"height": SIDE, "width": SIDE}
CROP = {"height": 40, "width": 40}


def test_a_size_that_depends_on_the_image_becomes_one_with_a_warning() -> None:
    made = processed_images(
        tf.DetrImageProcessorPil(size={"shortest_edge": 100, "longest_edge": 160})
    )

    assert (made.image_input.height, made.image_input.width) == (100, 100)
    assert made.image_input.resize == "stretch"
    assert "depends on the image" in made.note
    assert made.transform is not None
    assert made.transform(photograph("chelsea")).shape == (3, 100, 100)


def test_a_stretch_before_a_crop_has_a_warning() -> None:
    made = processed_images(tf.DeiTImageProcessorPil())

    assert (made.image_input.shorter_side, made.image_input.height) == (256, 224)
    assert "stretches images to 256×256" in made.note
    assert made.transform is None


def test_the_values_are_those_that_the_processor_computes() -> None:
    """EfficientNet's processor shifts and divides twice, which no field of it says."""
    made = processed_images(
        tf.EfficientNetImageProcessorPil(size=SQUARE, rescale_offset=True, include_top=True)
    )
    black, white = (
        tf.EfficientNetImageProcessorPil(size=SQUARE, rescale_offset=True, include_top=True)(
            images=Image.new("RGB", (SIDE, SIDE), color), return_tensors="np"
        )["pixel_values"][0, :, 0, 0]
        for color in ("black", "white")
    )

    pixels = made.pixels
    np.testing.assert_allclose((0 - np.array(pixels.mean)) / pixels.std, black, atol=1e-5)
    np.testing.assert_allclose(
        (255 * pixels.scale - np.array(pixels.mean)) / pixels.std, white, atol=1e-5
    )


@pytest.mark.parametrize(
    ("processor", "size", "side", "resize"),
    [
        ("ConvNextImageProcessorPil", {"shortest_edge": 224}, 256, "crop"),
        ("ConvNextImageProcessorPil", {"shortest_edge": 384}, None, "stretch"),
        ("LevitImageProcessorPil", {"shortest_edge": 224}, 256, "crop"),
        ("PoolFormerImageProcessorPil", {"shortest_edge": 224}, 248, "crop"),
        ("CLIPImageProcessorPil", {"shortest_edge": 224}, 224, "crop"),
    ],
)
def test_the_shorter_side_is_that_of_the_processor(
    processor: str, size: dict[str, int], side: int | None, resize: str
) -> None:
    made = processed_images(getattr(tf, processor)(size=size))

    assert (made.image_input.shorter_side, made.image_input.resize) == (side, resize)


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("ViT", {"size": {"height": 48, "width": 64}}, (48, 64, "stretch", None)),
        ("ViT", {"size": 48}, (48, 48, "stretch", None)),
        ("CLIP", {"size": {"shortest_edge": 50}, "crop_size": CROP}, (40, 40, "crop", 50)),
        ("CLIP", {"size": {"shortest_edge": 40}, "crop_size": CROP}, (40, 40, "crop", 40)),
        # A stretch to the size of the crop leaves nothing to cut off.
        ("DeiT", {"size": CROP, "crop_size": CROP}, (40, 40, "stretch", None)),
        # ConvNeXT crops below 384: the shorter side is the size through 224/256.
        ("ConvNext", {"size": {"shortest_edge": 383}}, (383, 383, "crop", 437)),
        ("ConvNext", {"size": {"shortest_edge": 384}}, (384, 384, "stretch", None)),
        ("ConvNext", {"size": {"shortest_edge": 350}, "crop_pct": 0.5}, (350, 350, "crop", 700)),
        # LeViT: the size times 256/224.
        ("Levit", {"size": {"shortest_edge": 112}, "crop_size": CROP}, (40, 40, "crop", 128)),
        # PoolFormer: the size through its share.
        (
            "PoolFormer",
            {"size": {"shortest_edge": 45}, "crop_pct": 0.9, "crop_size": CROP},
            (40, 40, "crop", 50),
        ),
        (
            "PoolFormer",
            {"size": {"height": 45, "width": 45}, "crop_pct": 0.9, "crop_size": CROP},
            (40, 40, "crop", 50),
        ),
        (
            "CLIP",
            {"size": {"shortest_edge": 40}, "crop_size": {"height": 30, "width": 40}},
            (30, 40, "crop", 40),
        ),
    ],
)  # fmt: skip
def test_a_way_to_the_input_size_that_foveal_has_needs_no_note(
    name: str, fields: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    made = processed_images(getattr(tf, f"{name}ImageProcessorPil")(**fields))

    found = made.image_input
    assert (found.height, found.width, found.resize, found.shorter_side) == expected
    assert made.note == ""
    assert made.transform is not None


@pytest.mark.parametrize(
    ("name", "fields", "note", "shorter"),
    [
        ("CLIP", {"size": {"shortest_edge": 30}}, "shorter side to 30 and pads with black before", 40),
        ("DeiT", {"size": {"height": 50, "width": 60}}, "stretches images to 50×60 before", 50),
        ("PoolFormer", {"size": {"height": 50, "width": 60}}, "stretches images to 50×60 before", 50),
        (
            "CLIP",
            {"size": {"shortest_edge": 90, "longest_edge": 99}},
            "to longest_edge 99, shortest_edge 90 before",
            90,
        ),
        ("CLIP", {"do_resize": False}, "does not resize images before", 40),
    ],
)  # fmt: skip
def test_a_crop_after_another_resize_has_a_note(
    name: str, fields: dict[str, Any], note: str, shorter: int
) -> None:
    made = processed_images(getattr(tf, f"{name}ImageProcessorPil")(crop_size=CROP, **fields))

    assert f"{note} it takes the center 40×40" in made.note
    assert f"Foveal resizes the shorter side to {shorter}," in made.note
    assert (made.image_input.height, made.image_input.shorter_side) == (40, shorter)
    assert made.transform is None


def test_the_longer_side_of_the_crop_must_be_covered() -> None:
    crop = {"height": 30, "width": 40}
    made = processed_images(tf.CLIPImageProcessorPil(size={"shortest_edge": 35}, crop_size=crop))

    assert made.image_input.shorter_side == 40
    assert "resizes the shorter side to 35 and pads with black" in made.note


@pytest.mark.parametrize(
    ("name", "fields", "size"),
    [
        ("DPT", {"size": {"height": 48, "width": 64}, "keep_aspect_ratio": True}, (48, 64)),
        (
            "DPT",
            {
                "size": {"height": 64, "width": 64},
                "keep_aspect_ratio": True,
                "ensure_multiple_of": 32,
            },
            (64, 64),
        ),
        (
            "DPT",
            {
                "size": {"height": 50, "width": 70},
                "keep_aspect_ratio": True,
                "ensure_multiple_of": 32,
            },
            (64, 64),
        ),
        (
            "MaskFormer",
            {
                "size": {"shortest_edge": 48, "longest_edge": 64},
                "size_divisor": 32,
                "do_pad": False,
            },
            (48, 48),
        ),
        ("Detr", {"size": {"longest_edge": 64}, "do_pad": False}, (64, 64)),
        ("Detr", {"size": {"max_height": 48, "max_width": 64}, "do_pad": False}, (48, 64)),
        ("Detr", {"size": {"shortest_edge": 48, "longest_edge": 64}, "do_pad": False}, (48, 48)),
    ],
)
def test_a_size_that_depends_on_the_image_is_replaced_by_one(
    name: str, fields: dict[str, Any], size: tuple[int, int]
) -> None:
    made = processed_images(getattr(tf, f"{name}ImageProcessorPil")(**fields))

    assert (made.image_input.height, made.image_input.width) == size
    assert "depends on the image" in made.note
    assert made.transform is not None
    assert made.transform(photograph("chelsea")).shape == (3, *size)


@pytest.mark.parametrize(
    ("name", "fields"),
    [("DPT", {"ensure_multiple_of": 32}), ("MaskFormer", {"size_divisor": 32})],
)
def test_a_size_that_becomes_a_multiple_is_that_one(name: str, fields: dict[str, Any]) -> None:
    size = {"height": 60, "width": 90}
    made = processed_images(getattr(tf, f"{name}ImageProcessorPil")(size=size, **fields))

    assert (made.image_input.height, made.image_input.width) == (64, 96)
    assert made.note == ""
    assert made.transform is not None


class KeepsSize(tf.ViTImageProcessorPil):  # type: ignore[misc, name-defined]  # importorskip has no types
    """States a size that it does not make."""

    def resize(self, image: Any, *_: Any, **__: Any) -> Any:
        return image


def test_a_processor_that_does_not_make_its_size_is_not_the_reference() -> None:
    made = processed_images(KeepsSize(size=SQUARE))

    assert made.transform is None
    assert f"KeepsSize does not make {SIDE}×{SIDE} of every image" in made.note


def test_a_processor_that_keeps_the_size_needs_one() -> None:
    processor = tf.ViTImageProcessorPil(do_resize=False)

    with pytest.raises(SourceError, match=r"states no input size\. Give --height and --width"):
        processed_images(processor)
    made = processed_images(processor, (48, 64))
    assert made.image_input == ImageInput(height=48, width=64, resize="stretch")
    assert "resized to 48×64, as --height and --width state" in made.note
    assert made.transform is None


@pytest.mark.parametrize(
    "filter_", [one for one in Image.Resampling if one <= Image.Resampling.HAMMING]
)
def test_the_interpolation_has_pillow_s_number(filter_: Image.Resampling) -> None:
    made = processed_images(tf.ViTImageProcessorPil(size=SQUARE, resample=int(filter_)))

    assert made.image_input.interpolation == filter_.name.lower()


def test_a_filter_that_foveal_lacks_is_refused() -> None:
    class Newer(Squaring):
        resample = 7

    with pytest.raises(
        SourceError, match=r"Newer resizes with Pillow's filter 7.*0 \(nearest\), 1 "
    ):
        processed_images(Newer())


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("ViT", {}),
        ("ViT", {"do_normalize": False}),
        ("ViT", {"do_rescale": False, "image_mean": [120.0, 110.0, 100.0], "image_std": 60.0}),
        ("ViT", {"image_mean": 0.25, "image_std": [0.5, 0.25, 0.125], "rescale_factor": 1 / 127.5}),
        ("MobileViT", {"do_flip_channel_order": True, "do_center_crop": False}),
        ("EfficientNet", {"rescale_offset": True}),
    ],
)
def test_pixel_values_are_those_of_the_processor(name: str, fields: dict[str, Any]) -> None:
    processor = getattr(tf, f"{name}ImageProcessorPil")(size=SQUARE, **fields)
    colors = np.random.default_rng(1).integers(0, 256, (1, SIDE, SIDE, 3), np.uint8)

    made = processed_images(processor)

    expected = processor(images=Image.fromarray(colors[0]), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(pixel_values(colors, made.pixels), expected, atol=2e-4)


def test_the_transform_is_the_processor_itself() -> None:
    processor = tf.CLIPImageProcessorPil(size={"shortest_edge": 50}, crop_size=CROP)
    body = photograph("chelsea")

    transform = processed_images(processor).transform

    assert transform is not None
    image = Image.open(BytesIO(body)).convert("RGB")
    expected = processor(images=image, return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(transform(body), expected)


class Squaring:
    """An image processor that squares pixel values after it has scaled them."""

    size = SQUARE
    do_rescale = True
    rescale_factor = 1 / 255

    def __call__(self, images: Image.Image, return_tensors: str) -> dict[str, Any]:
        assert return_tensors == "np"
        values = np.asarray(images, np.float32).transpose(2, 0, 1) / 255
        return {"pixel_values": values[None] ** 2}


def test_values_that_no_scale_mean_and_std_describe_are_refused() -> None:
    with pytest.raises(SourceError, match="Squaring does more to a pixel than scale, mean and std"):
        processed_images(Squaring())
