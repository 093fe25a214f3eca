"""Over TLS no more is handed to the transport than its client reads."""

from service.processes.pieces import PIECE_BYTES, Pieces


class Raw:
    """A transport that wants no more as soon as anything waits in it, as its limits say."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.takes = 0
        self.limits: tuple[int, int] | None = None
        self.pieces: Pieces

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        self.limits = (high, low)

    def write(self, data: memoryview) -> None:
        self.written += data
        self.takes -= len(data)
        if self.takes < 0:
            self.pieces.pause()


def made(takes: int) -> tuple[Raw, Pieces]:
    raw = Raw()
    raw.takes = takes
    raw.pieces = Pieces(raw)  # type: ignore[arg-type]
    raw.pieces.begin()
    return raw, raw.pieces


def test_what_the_client_takes_is_written_at_once() -> None:
    raw, pieces = made(takes=10 * PIECE_BYTES)
    answer = bytes(range(256)) * 1000
    pieces.write(answer)
    assert (bytes(raw.written), pieces.left_bytes, raw.limits) == (answer, 0, (1, 0))


def test_the_rest_waits_here_and_comes_in_order() -> None:
    raw, pieces = made(takes=PIECE_BYTES)
    first, second = b"a" * (3 * PIECE_BYTES), b"b"
    pieces.write(first)
    pieces.write(second)
    assert (len(raw.written), pieces.left_bytes) == (2 * PIECE_BYTES, PIECE_BYTES + 1)
    raw.takes = 0
    assert not pieces.resume(), "it takes one more piece, and wants no more"
    raw.takes = 10
    assert pieces.resume()
    assert (bytes(raw.written), pieces.left_bytes) == (first + second, 0)


def test_of_a_connection_that_is_closed_nothing_is_kept() -> None:
    raw, pieces = made(takes=0)
    pieces.write(bytes(9 * PIECE_BYTES))
    pieces.drop()
    assert pieces.left_bytes == 0
    assert pieces.resume()
    assert len(raw.written) == PIECE_BYTES
