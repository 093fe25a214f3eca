"""What Pillow's readers raise on damaged files."""

import struct

PILLOW_FAULTS = (
    OSError,
    ValueError,
    RuntimeError,
    SyntaxError,
    LookupError,
    TypeError,
    ArithmeticError,
    EOFError,
    struct.error,
)
