"""The first frame of an AVIF → how many pixels are decoded for it, whatever size its boxes say."""

from service.imaging.av1_frames import MOST_UNITS, Frames, frames_of, too_many_units
from service.imaging.avif import CODED, Avif


def coded_frames(avif: Avif) -> Frames:
    """Return what is decoded for a first frame: the pixels at once, and with all layers. Each use of a stream counts.

    Raises:
        BrokenImageError: it has more frames or units than any image.
    """
    largest = total = units = 0
    known: dict[int, Frames] = {}
    for picture in avif.picture:
        if picture.kind != CODED:
            continue
        if picture.stream not in known:
            known[picture.stream] = frames_of(avif.streams[picture.stream], MOST_UNITS - units)
        one = known[picture.stream]
        units += one.units
        if units > MOST_UNITS:
            raise too_many_units()
        largest, total = largest + one.largest, total + one.total
    return Frames(largest, total)


def beside_canvas(coded: Frames, canvas: int) -> Frames:
    """Return what an AVIF counts for: its canvas, and what more is decoded; opacity of its size does not count.

    Args:
        coded: by its AV1 frames.
        canvas: how many pixels it has by its boxes.
    """
    return Frames(max(canvas, coded.largest - canvas), max(canvas, coded.total - canvas))
