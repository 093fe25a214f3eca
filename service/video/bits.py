"""Bits of a header, from the highest of the first byte on."""


class Bits:
    """Reads numbers one after the other; behind the end, zeros."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._left = 8 * len(data)

    @property
    def is_over(self) -> bool:
        """Whether more bits were taken than there are."""
        return self._left < 0

    def take(self, count: int) -> int:
        """Return the number that so many bits are."""
        self._left -= count
        shifted = self._value >> self._left if self._left >= 0 else self._value << -self._left
        return shifted & ((1 << count) - 1)

    def golomb(self) -> int:
        """Return an Exp-Golomb number without a sign (ISO/IEC 14496-10, section 9.1); those of H.264 have 32 bits."""
        zeros = 0
        while zeros < 32 and not self.take(1):
            zeros += 1
        return (1 << zeros) - 1 + self.take(zeros)
