"""`fit_image` against the plain way: decode all, turn upright, resize all, crop or pad."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps, features

from service.card import ImageInput, Interpolation
from service.imaging.decode import Limits
from service.imaging.resampling import RESAMPLING, SAMPLING
from service.imaging.resize import fit_encoded, fit_image
from tests.images import encode, photograph

LIMITS = Limits()
CROP = ImageInput(height=224, width=224, resize="crop", shorter_side=256)
STRETCH = ImageInput(height=120, width=200, resize="stretch", interpolation="bicubic")
LETTERBOX = ImageInput(height=160, width=160, resize="letterbox", pad_color=(1, 2, 3))
CORNER = LETTERBOX.model_copy(update={"placement": "corner"})


def plainly(image: Image.Image, target: ImageInput) -> NDArray[np.int16]:
    """The same frame, made as training pipelines make it."""
    image = ImageOps.exif_transpose(image).convert("RGB")
    resampling = RESAMPLING[target.interpolation]
    size = (target.width, target.height)
    if target.resize == "stretch":
        return np.asarray(image.resize(size, resampling)).astype(np.int16)
    if target.resize == "letterbox":
        scale = min(size[0] / image.width, size[1] / image.height)
        content = image.resize(
            (max(1, round(image.width * scale)), max(1, round(image.height * scale))), resampling
        )
        paper = Image.new("RGB", size, target.pad_color)
        at = ((size[0] - content.width) // 2, (size[1] - content.height) // 2)
        paper.paste(content, (0, 0) if target.placement == "corner" else at)
        return np.asarray(paper).astype(np.int16)
    side = target.shorter_side or 0
    if image.width <= image.height:
        whole = image.resize((side, int(side * image.height / image.width)), resampling)
    else:
        whole = image.resize((int(side * image.width / image.height), side), resampling)
    left, top = round((whole.width - size[0]) / 2), round((whole.height - size[1]) / 2)
    kept = whole.crop((left, top, left + size[0], top + size[1]))
    return np.asarray(kept).astype(np.int16)


def cat(size: tuple[int, int]) -> Image.Image:
    return Image.open(BytesIO(photograph("chelsea"))).resize(size)


@pytest.mark.parametrize(
    "target", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
@pytest.mark.parametrize(
    "size", [(451, 300), (300, 451), (640, 480), (225, 224), (90, 77), (1000, 60)]
)
def test_the_frame_is_what_the_plain_way_makes(size: tuple[int, int], target: ImageInput) -> None:
    frame, _ = fit_encoded(encode(cat(size)), target, LIMITS)
    assert frame.dtype == np.uint8
    assert np.abs(frame - plainly(cat(size), target)).max() <= 1


@pytest.mark.parametrize(
    "target", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_shows_the_image_upright(
    orientation: int, target: ImageInput
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encode(cat((301, 200)), exif=exif)
    frame, geometry = fit_encoded(body, target, LIMITS)
    shown = ImageOps.exif_transpose(Image.open(BytesIO(body)))
    assert (geometry.width, geometry.height) == shown.size
    assert np.abs(frame - plainly(Image.open(BytesIO(body)), target)).max() <= 1


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_orientation_is_read_from_every_format_that_has_one(form: str) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    exif = Image.Exif()
    exif[0x0112] = 6
    body = encode(cat((64, 48)), form, exif=exif)
    frame, geometry = fit_encoded(body, STRETCH, LIMITS)
    assert (geometry.width, geometry.height) == (48, 64)
    # Turned after resizing, so Pillow's two passes and their roundings come in the other order.
    difference = np.abs(frame - plainly(Image.open(BytesIO(body)), STRETCH))
    assert difference.mean() < 0.5
    assert difference.max() <= 6


@pytest.mark.parametrize("size", [(4000, 2661), (2407, 3205), (1025, 1023)])
@pytest.mark.parametrize(
    "target", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
def test_a_large_jpeg_decoded_at_a_reduced_scale_keeps_its_image(
    size: tuple[int, int], target: ImageInput
) -> None:
    body = encode(cat(size), "JPEG", quality=92)
    frame, _ = fit_encoded(body, target, LIMITS)
    difference = np.abs(frame - plainly(Image.open(BytesIO(body)), target))
    assert difference.mean() < 0.5
    assert difference.max() <= 6


SMALL = ImageInput(height=10, width=20, resize="stretch")


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
@pytest.mark.parametrize(
    ("size", "reduction"),
    [
        ((320, 160), 8),
        ((319, 160), 4),
        ((320, 159), 4),
        ((160, 80), 4),
        ((159, 80), 2),
        ((80, 40), 2),
        ((80, 39), 1),
        ((5000, 39), 1),
    ],
)
def test_a_jpeg_is_reduced_to_no_less_than_twice_the_frame(
    size: tuple[int, int], reduction: int, form: str
) -> None:
    body = encode(cat(size), form, quality=92, **({"save_all": True} if form == "MPO" else {}))
    frame, _ = fit_encoded(body, SMALL, LIMITS)
    assert np.array_equal(frame, reduced(body, reduction))
    assert not np.array_equal(frame, reduced(body, reduction * 2))


def reduced(body: bytes, reduction: int) -> NDArray[np.uint8]:
    """Return the frame `SMALL` of a JPEG that was decoded at a reduced DCT scale."""
    image = Image.open(BytesIO(body))
    image.draft(None, (image.width // reduction, image.height // reduction))
    image.load()
    stored = Image.open(BytesIO(body)).size
    box = (0, 0, stored[0] / reduction, stored[1] / reduction)
    inside = (0, 0, min(box[2], image.width), min(box[3], image.height))
    return np.asarray(image.resize((20, 10), Image.Resampling.BILINEAR, box=inside))


@pytest.mark.parametrize(
    ("size", "kept"),
    [((160, 320), (0, 80, 160, 240)), ((320, 160), (80, 0, 240, 160))],
    ids=["tall", "wide"],
)
def test_only_the_kept_part_counts_for_the_reduction(
    size: tuple[int, int], kept: tuple[int, int, int, int]
) -> None:
    target = ImageInput(height=20, width=20, resize="crop", shorter_side=20)
    body = encode(cat(size), "JPEG", quality=92)
    frame, _ = fit_encoded(body, target, LIMITS)
    image = Image.open(BytesIO(body))
    image.draft(None, (size[0] // 4, size[1] // 4))  # 160 pixels are kept: four times twice 20
    left, top, right, bottom = (side / 4 for side in kept)
    expected = image.resize((20, 20), Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    assert np.array_equal(frame, np.asarray(expected))


@pytest.mark.parametrize("form", ["JPEG", "MPO"])
@pytest.mark.parametrize("name", sorted(SAMPLING))
@pytest.mark.parametrize(
    "policy", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
def test_a_jpeg_is_decoded_whole_where_the_interpolation_skips_pixels(
    policy: ImageInput, name: Interpolation, form: str
) -> None:
    target = policy.model_copy(update={"interpolation": name})
    sharp = Image.effect_noise((1100, 1040), 90).convert("RGB")
    body = encode(sharp, form, quality=95, **({"save_all": True} if form == "MPO" else {}))
    frame, _ = fit_encoded(body, target, LIMITS)
    whole, _ = fit_encoded(encode(Image.open(BytesIO(body)).convert("RGB"), "BMP"), target, LIMITS)
    assert np.array_equal(frame, whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    "policy", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
def test_linear_is_the_same_whichever_way_the_image_is_stored(
    policy: ImageInput, orientation: int
) -> None:
    target = policy.model_copy(update={"interpolation": "linear"})
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encode(Image.effect_noise((701, 500), 90).convert("RGB"), exif=exif)
    frame, _ = fit_encoded(body, target, LIMITS)
    upright, _ = fit_image(ImageOps.exif_transpose(Image.open(BytesIO(body))), target)
    assert np.abs(frame.astype(np.int16) - upright).max() <= 1


@pytest.mark.parametrize("name", RESAMPLING)
def test_every_interpolation_is_the_one_of_its_name(name: Interpolation) -> None:
    target = ImageInput(height=30, width=40, resize="stretch", interpolation=name)
    image = cat((90, 77))
    frame, _ = fit_encoded(encode(image), target, LIMITS)
    way = Image.Resampling[name.upper()]
    difference = np.abs(np.asarray(image.resize((40, 30), way)).astype(np.int16) - frame)
    assert difference.max() <= 1
    assert difference.mean() < 0.05, "of another interpolation, most values are others"


@pytest.mark.parametrize(
    "target", [CROP, STRETCH, LETTERBOX, CORNER], ids=lambda t: t.placement or t.resize
)
def test_a_decoded_image_fits_as_an_encoded_one_does(target: ImageInput) -> None:
    image = cat((451, 300))
    frame, geometry = fit_image(image, target)
    from_bytes, same = fit_encoded(encode(image), target, LIMITS)
    assert geometry == same
    assert np.array_equal(frame, from_bytes)


def test_a_gray_image_becomes_three_equal_channels() -> None:
    frame, _ = fit_encoded(encode(cat((64, 64)).convert("L")), STRETCH, LIMITS)
    assert np.array_equal(frame[..., 0], frame[..., 1])
    assert np.array_equal(frame[..., 1], frame[..., 2])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.sampled_from(["crop", "stretch", "letterbox"]),
    st.integers(1, 8),
)
def test_any_size_fits_any_frame(width: int, height: int, resize: str, orientation: int) -> None:
    target = ImageInput.model_validate(
        {
            "height": 24,
            "width": 32,
            "resize": resize,
            "shorter_side": 40 if resize == "crop" else None,
        }
    )
    exif = Image.Exif()
    exif[0x0112] = orientation
    frame, geometry = fit_encoded(
        encode(Image.new("RGB", (width, height), "red"), exif=exif), target, LIMITS
    )
    x0, y0, x1, y1 = geometry.content
    assert frame.shape == (24, 32, 3)
    assert (frame[y0:y1, x0:x1] == (255, 0, 0)).all()
