"""Keeps a decoder within the memory that was counted for it: headers inside of a stream may ask for more."""

from av.packet import Packet as AnyPacket
from av.video.codeccontext import VideoCodecContext
from av.video.format import VideoFormat
from av.video.stream import VideoStream

from service.errors import TooManyPixelsError
from service.video.bitstream import length_size
from service.video.kept import Kept, kept_of, kept_of_packet


class Guard:
    """Refuses what takes more than was counted.

    Args:
        codec: of the stream.
        extradata: its header.
        most: what was counted.
    """

    def __init__(self, codec: str, extradata: bytes, most: Kept) -> None:
        self._codec = codec
        self._has_headers = codec in {"h264", "hevc"}
        self._length = length_size(codec, extradata)
        self._most = most
        self._format: str | None = None

    def before(self, packet: "AnyPacket[VideoStream]") -> None:
        """Refuse a packet before it is decoded, by the headers in it.

        Raises:
            TooManyPixelsError: they ask for more than was counted.
        """
        if not self._has_headers:
            return
        found = kept_of_packet(self._codec, self._length, bytes(packet))
        if found is None and packet.has_sidedata("new_extradata"):
            extradata = bytes(packet.get_sidedata("new_extradata"))
            self._length = length_size(self._codec, extradata)
            found = kept_of(self._codec, extradata)
        if found is not None and not self._most.covers(found):
            raise _more()

    def after(self, decoder: VideoCodecContext) -> None:
        """Refuse the format of a pixel that a packet brought, while one frame has it.

        Raises:
            TooManyPixelsError: it takes more bytes than was counted.
        """
        name = decoder.pix_fmt
        if name is None or name == self._format:
            return
        self._format = name
        if bytes_of_pixel(name) > self._most.pixel_bytes:
            raise _more()


def bytes_of_pixel(name: str) -> float:
    """Return how many bytes a pixel takes in FFmpeg's format of this name."""
    form = VideoFormat(name, 64, 64)
    if any(part.bits > 8 for part in form.components):
        samples = sum(part.width * part.height for part in form.components) / (64 * 64)
        size = 4 if any(part.bits > 16 for part in form.components) else 2
        return max(samples * size, form.padded_bits_per_pixel / 8)
    return form.padded_bits_per_pixel / 8


def _more() -> TooManyPixelsError:
    return TooManyPixelsError(
        "The video's frames need more memory than its header says: they change their format, or the number of frames "
        "that others depend on. Encode it again."
    )
