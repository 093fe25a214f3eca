"""What images count as work: each weight is in pixels, of which an ordinary image takes 10 to 25 nanoseconds each.

They were measured as CPU time on one core, of an AMD EPYC or an Intel Xeon, from the encoded image to the frame of a
network.
"""

LARGE_WORK = 16_000_000
"""An image of more takes hundreds of milliseconds and more; it is decoded beside the threads that run batches."""
LONG_WORK = 8_000_000
"""An image of more takes about a tenth of a second or more; it leaves a thread to small ones while these come."""

JPEG_SHARE = 2
"""A JPEG, which is decoded at a reduced scale, takes half of another image at most."""
USUAL_SCANS = 10
"""Of a progressive JPEG. Each further one costs as much again, however few bytes it has."""
SEGMENT_WORK = 300
"""What a segment of a JPEG or a chunk of a PNG counts: readers take 2 to 4 microseconds for one."""
FREE_SEGMENTS = 1000
"""So many count nothing."""

PNG_BYTE_WORK = 2
"""What a byte of a PNG counts that has many: photographs take 33 to 40 nanoseconds a byte."""
VIDEO_FIFTHS = 6
"""What five pixels of a WebP or AVIF count, which are decoded as frames of videos: 18 to 25 nanoseconds each."""
WEBP_BYTE_WORK = 3
"""What a byte of a WebP counts: noise takes 95 nanoseconds a byte, what is lossless 10 to 50."""
GROUP_WORK = 700
"""What a group of prefix codes of a WebP counts: to build one takes 6 to 20 microseconds, and the memory of so many
pixels."""
AVIF_BYTE_WORK = 10
"""What a byte of an AVIF counts: noise takes 120 nanoseconds a byte, and has more of them than pixels."""

AVIF_STEP_WORK = 200
"""What a box of an AVIF, an entry of its tables or a unit of AV1 counts: each takes 1 to 3 microseconds, twice."""

RUN_CODE_WORK = 100
"""What a run length, an end of a line or a gap of a BMP counts: one takes 1 to 2 microseconds."""

STRIP_WORK = 1000
"""What a strip or tile of a TIFF counts at least: it took 5 to 15 microseconds."""
JPEG_STRIP_WORK = 8000
"""What one that is a JPEG counts: its reader has to be made, and it is looked at before."""
FAX_BYTE_WORK = 25
"""What a byte of G3, G4 or run lengths counts: lines are decoded four times, and noise took 330 nanoseconds a byte."""
DEFLATE_BYTE_WORK = 1
"""What a byte of a deflated TIFF counts that has many: photographs take 16 nanoseconds a byte."""

BLOCK_WORK = 150
"""What a block before the first image of a GIF counts: to count it, and to read it twice, takes 3 microseconds."""
FREE_BLOCKS = 1000
"""So many count nothing: 255 kB of comments."""

TAG_WORK = 3000
"""What a tag of a TIFF counts: its readers take up to 10 microseconds for one, four times, or libtiff sorts it."""
FREE_TAGS = 100
"""So many count nothing; photographs have about 20."""

SPARE_BYTE_WORK = 20
"""What a byte counts that a compressed image has beyond its pixels, as no encoder writes it: blocks of Deflate with
tables and no pixel took 140 nanoseconds a byte, and two to three times that where they are inflated again to check the
pixels."""
TOGETHER_BYTE_WORK = 6
"""What a byte of a PNG or TIFF counts at least beside other images, for these are queued together: photographs take 30
to 70 nanoseconds a byte, and blocks with tables for each few pixels 140."""
_SPARE_BYTES = 16 * 1024


def with_bytes(work: int, in_bytes: int) -> int:
    """Return the work of an image whose compressed bytes count too, where they make it take long.

    Bytes alone make none very large: two of them at once are decoded in half of the time.
    """
    return max(work, min(in_bytes, LARGE_WORK)) if in_bytes > LONG_WORK else work


def spare_work(in_bytes: int, pixel_bytes: int) -> int:
    """Return the work of compressed bytes that can hold none of the pixels; an eighth and 16 KiB more count nothing.

    Encoders store what they can not compress, with 5 bytes for each block, even where each row is a block.

    Args:
        in_bytes: of the compressed pixels.
        pixel_bytes: of the pixels before they are compressed.
    """
    return max(0, in_bytes - pixel_bytes - pixel_bytes // 8 - _SPARE_BYTES) * SPARE_BYTE_WORK


def segments_work(count: int) -> int:
    """Return what so many segments of a JPEG, or chunks of a PNG, take."""
    return max(0, count - FREE_SEGMENTS) * SEGMENT_WORK


def tags_work(count: int) -> int:
    """Return what so many tags of a TIFF take."""
    return max(0, count - FREE_TAGS) * TAG_WORK


def blocks_work(count: int) -> int:
    """Return what so many blocks before the first image of a GIF take."""
    return max(0, count - FREE_BLOCKS) * BLOCK_WORK
