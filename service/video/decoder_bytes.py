"""What the decoder of a video holds of the memory, before its first frame is decoded."""

INTRA_CODECS = frozenset(
    {
        "mjpeg",
        "prores",
        "png",
        "rawvideo",
        "qtrle",
        "dnxhd",
        "dvvideo",
        "jpeg2000",
        "huffyuv",
        "ffv1",
    }
)
"""Codecs in which no frame depends on another one: their decoders hold none."""
ANIMATIONS = frozenset({"gif", "apng", "webp"})
INTRA_BYTES_PER_PIXEL = 12
"""MJPEG took 3.5 to 9; a frame of 16 bits a component takes up to 8, and two are held for a moment."""
ANIMATION_BYTES_PER_PIXEL = 24
"""A canvas, a stored frame and a displayed one took 5 (GIF), 9 (PNG) and 19 (WebP)."""
INTER_BYTES_PER_PIXEL = 40
"""H.264 of 16 reference frames took 38, of a few 6; HEVC 27."""
FEW_REFERENCES = {"av1": 16, "vp9": 12, "vp8": 12, "mpeg4": 12, "mpeg2video": 12, "mpeg1video": 12}
"""The same of codecs that keep eight frames at most: AV1 took 13, VP9 8."""


def decoder_bytes(codec: str, pixels: int, file_bytes: int) -> int:
    """Return about how many bytes a decoder holds at most.

    Args:
        codec: of the video, or the format of an animation.
        pixels: of its largest frame.
        file_bytes: of the file: an animation is read as a whole, and of other codecs all packets may be one group.
    """
    if codec in INTRA_CODECS:
        return INTRA_BYTES_PER_PIXEL * pixels
    if codec in ANIMATIONS:
        return ANIMATION_BYTES_PER_PIXEL * pixels + file_bytes
    return FEW_REFERENCES.get(codec, INTER_BYTES_PER_PIXEL) * pixels + file_bytes
