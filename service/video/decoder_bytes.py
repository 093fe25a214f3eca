"""What the decoder of a video holds of the memory, before its first frame is decoded."""

from service.video.kept import WORST, Kept, kept_of

INTRA_BYTES_PER_PIXEL = {
    "mjpeg": 20.0,
    "png": 24.0,
    "ffv1": 32.0,
    "ffvhuff": 24.0,
    "magicyuv": 24.0,
    "utvideo": 16.0,
    "huffyuv": 16.0,
    "v210": 16.0,
    "rawvideo": 24.0,
    "prores": 12.0,
    "dnxhd": 12.0,
    "dvvideo": 12.0,
    "qtrle": 12.0,
    "cinepak": 12.0,
    "msvideo1": 12.0,
    "msrle": 12.0,
    "rpza": 12.0,
}
"""Codecs in which no frame depends on another one that is kept, at their deepest format. Measured: MJPEG 15.5
(progressive, four colors), PNG 17.1, FFV1 22.8, FFVHuff 16.2, MagicYUV 5.8 at 8 bits, HuffYUV 7.8, v210 9.7,
ProRes 8.9, DNxHD 8.3, DV 3.4, QuickTime RLE 4.7, Cinepak 3.2."""
INTER_BYTES_PER_PIXEL = {
    "vp8": 16.0,
    "mpeg1video": 12.0,
    "mpeg2video": 12.0,
    "mpeg4": 12.0,
    "h263": 12.0,
    "flv1": 12.0,
    "msmpeg4v2": 12.0,
    "msmpeg4v3": 12.0,
    "wmv1": 12.0,
    "wmv2": 12.0,
    "theora": 24.0,
}
"""Codecs that keep two to four frames: these took 5.4 to 7.5, Theora of 4:4:4 17.1. VP8 with alpha has two decoders."""
USUAL_CODECS = frozenset(
    {"h264", "hevc", "vp9", "av1", *INTRA_BYTES_PER_PIXEL, *INTER_BYTES_PER_PIXEL}
)
"""Those that are decoded where an operator names none: others are rare, and what they take was not measured."""
OTHER_BYTES_PER_PIXEL = 130.0
"""Of a codec that an operator names: JPEG 2000 took 65, OpenEXR 48, CineForm 30."""
ANIMATIONS = frozenset({"gif", "apng", "webp"})
ANIMATION_BYTES_PER_PIXEL = 24
"""A canvas, a stored frame and a displayed one took 5 (GIF), 9 (PNG) and 19 (WebP)."""
_SLOT_FRAMES = 11
"""VP9 and AV1 keep eight frames, and have three more at work."""
_TABLES = 0.9
"""Bytes for a pixel of a frame that is kept, beside its samples: motion and modes. H.264 took 0.6."""
_ONCE = 3.0
"""The same of the decoder as a whole."""
_DEEPEST = 6.0
"""Bytes for a pixel of 4:4:4 with more than eight bits."""
_DEEPEST_INTRA = 8.0
"""The same with alpha."""
_DEEPEST_INTER = 3.0
_DEEPEST_OTHER = 16.0


def kept_at_most(codec: str, extradata: bytes, first: bytes, *, has_alpha: bool) -> Kept:
    """Return what a decoder keeps at most, by the stream's header and its first packet.

    Args:
        codec: of the stream.
        extradata: its header.
        first: its first packet; empty where it is not known.
        has_alpha: whether a second decoder reads alpha beside the frames.
    """
    if codec == "vp9":
        pixel_bytes = _vp9_pixel_bytes(first)
        return (
            Kept(2 * _SLOT_FRAMES, pixel_bytes + 1)
            if has_alpha
            else Kept(_SLOT_FRAMES, pixel_bytes)
        )
    if codec == "av1":
        return Kept(_SLOT_FRAMES, _av1_pixel_bytes(extradata))
    if codec in INTRA_BYTES_PER_PIXEL:
        return Kept(1, _DEEPEST_INTRA)
    if codec in INTER_BYTES_PER_PIXEL:
        return Kept(1, _DEEPEST_INTER)
    return kept_of(codec, extradata) or Kept(1, _DEEPEST_OTHER)


def _vp9_pixel_bytes(first: bytes) -> float:
    """VP9 bitstream specification, section 6.2: profile 0 has 4:2:0 of eight bits."""
    return 1.5 if first and first[0] >> 4 == 0b1000 else _DEEPEST


def _av1_pixel_bytes(extradata: bytes) -> float:
    """AV1 codec ISO media file format binding, section 2.3.3."""
    if len(extradata) < 4 or extradata[0] != 0x81:
        return _DEEPEST
    is_deep, across, down = extradata[2] >> 6 & 1, extradata[2] >> 3 & 1, extradata[2] >> 2 & 1
    samples = 3.0 if not across else 1.5 if down else 2.0
    return samples * (2 if is_deep else 1)


def decoder_bytes(codec: str, pixels: int, file_bytes: int, kept: Kept | None = None) -> int:
    """Return about how many bytes a decoder holds at most.

    Args:
        codec: of the video, or the format of an animation.
        pixels: of its largest frame.
        file_bytes: of the file: an animation is read as a whole, and of other codecs all packets may be one group.
        kept: what it keeps, of codecs whose headers say it.
    """
    if codec in INTRA_BYTES_PER_PIXEL:
        return int(INTRA_BYTES_PER_PIXEL[codec] * pixels)
    if codec in ANIMATIONS:
        return ANIMATION_BYTES_PER_PIXEL * pixels + file_bytes
    if codec in INTER_BYTES_PER_PIXEL:
        return int(INTER_BYTES_PER_PIXEL[codec] * pixels) + file_bytes
    if codec not in USUAL_CODECS:
        return int(OTHER_BYTES_PER_PIXEL * pixels) + file_bytes
    held = kept or WORST
    return int((held.frames * (held.pixel_bytes + _TABLES) + _ONCE) * pixels) + file_bytes
