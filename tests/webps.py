"""Lossless WebPs with as many groups of prefix codes as a test wants: RFC 9649, section 3."""

import struct


class _Writer:
    """Bits, the lowest of each byte first."""

    def __init__(self) -> None:
        self._value = self._count = 0
        self._bytes = bytearray()

    def write(self, value: int, count: int) -> None:
        self._value |= value << self._count
        self._count += count
        while self._count >= 8:
            self._bytes.append(self._value & 255)
            self._value >>= 8
            self._count -= 8

    def code_of(self, bits: int, symbols: int) -> None:
        """Write a code in which each of the first 1 << `bits` symbols has so many bits, and what is above them none."""
        if not bits:
            self.code_of_one()
            return
        self.write(0, 1)
        self.write(15, 4)
        for length in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15):
            self.write(1 if length in {0, bits} else 0, 3)
        self.write(0, 1)
        for symbol in range(symbols):
            self.write(symbol < 1 << bits, 1)

    def code_of_one(self) -> None:
        """Write a code of the symbol 0 alone, which takes no bits."""
        self.write(0b0001, 4)

    def symbol(self, value: int, bits: int) -> None:
        """Write a symbol of a code in which each has so many bits."""
        if bits:
            self.write(int(f"{value:0{bits}b}"[::-1], 2), bits)

    def copies(self, count: int) -> None:
        """Write a small image: a pixel, and so many copies of it, one by one."""
        self.write(0, 1)
        self.write(0, 1)
        self.write(15, 4)
        for length in (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15):
            self.write(length < 2, 3)
        self.write(0, 1)
        for symbol in range(280):
            self.write(symbol in {0, 256}, 1)
        for _ in range(3):
            self.code_of_one()
        self.write(0b1001, 4)  # of the distances the second alone, which is that of the last pixel
        for place in range(1 + count):
            self.write(place > 0, 1)

    def done(self) -> bytes:
        return bytes(self._bytes) + (bytes((self._value,)) if self._count else b"")


def stream(
    width: int, height: int, groups: int, *, block_bits: int = 2, has_copies: bool = False
) -> bytes:
    """Return an image whose blocks name one group after the other, without its size.

    It is black, or its predictors are one and its copies.
    """
    bits = _Writer()
    if has_copies:
        bits.write(1, 1)
        bits.write(0, 2)
        bits.write(0, 3)
        bits.copies(-(-width // 4) * -(-height // 4) - 1)
    bits.write(0, 1)  # no further transform
    bits.write(0, 1)  # no color cache
    bits.write(1, 1)
    bits.write(block_bits - 2, 3)
    bits.write(0, 1)
    low, high = (min(groups, 256) - 1).bit_length(), (-(-groups // 256) - 1).bit_length()
    bits.code_of(low, 280)
    bits.code_of(high, 256)
    for _ in range(3):
        bits.code_of_one()
    for place in range((-(-width >> block_bits)) * (-(-height >> block_bits))):
        bits.symbol(place % groups & 255, low)
        bits.symbol(place % groups >> 8, high)
    for _ in range(5 * groups):
        bits.code_of_one()
    return bits.done()


def lossless(
    width: int, height: int, groups: int, *, block_bits: int = 2, has_copies: bool = False
) -> bytes:
    """Return the content of a chunk VP8L with so many groups."""
    sides = struct.pack("<I", (width - 1) | (height - 1) << 14)
    pixels = stream(width, height, groups, block_bits=block_bits, has_copies=has_copies)
    return b"\x2f" + sides + pixels


def extended(width: int, height: int, flags: int) -> tuple[bytes, bytes]:
    """Return a chunk VP8X."""
    sides = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
    return b"VP8X", struct.pack("<I", flags) + sides


def frame(width: int, height: int, *chunks: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    """Return a chunk ANMF at the upper left corner, shown for 0.1 s."""
    numbers = (0, 0, width - 1, height - 1, 100)
    head = b"".join(struct.pack("<I", number)[:3] for number in numbers)
    return b"ANMF", head + b"\0" + row(*chunks)


def row(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return chunks, one behind the other."""
    return b"".join(
        kind + struct.pack("<I", len(data)) + data + bytes(len(data) & 1) for kind, data in chunks
    )


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    """Return a file of these chunks."""
    content = b"WEBP" + row(*chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content
