"""What libtiff says of a damaged file: nothing, since it writes past the log."""

import contextlib
import ctypes
import re
from pathlib import Path

_MAPS = Path("/proc/self/maps")
_LIBTIFF = re.compile(r"/\S*libtiff[^/\s]*\.so\S*")


def silence_libtiff() -> bool:
    """Let libtiff write no errors to this process's stderr; return whether it was found.

    Pillow switches its warnings off and leaves the errors. Each of them would be a line outside the log, so a client
    with damaged files could fill it. The error that counts reaches the client. Only Linux says where a library lies.
    """
    from PIL import _imaging  # noqa: F401, PLC0415  # brings libtiff into the process

    with contextlib.suppress(OSError, AttributeError):
        found = _LIBTIFF.search(_MAPS.read_text("utf-8", "replace"))
        if found is not None:
            set_handler = ctypes.CDLL(found.group()).TIFFSetErrorHandler
            set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            set_handler(None)
            return True
    return False
