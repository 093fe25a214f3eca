"""Memory or disk space that ran out, in the words of any library → one error with the figures and the next step."""

import errno
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from tempfile import gettempdir

from exporter.errors import ShortageError, WriteError

_NO_MEMORY = re.compile(
    r"(?:can't|cannot|can not|failed to|unable to) allocate (?!memory in static TLS)"
    r"|not enough memory|out of memory|bad[ _]alloc|failed to map segment from shared object"
    r"|memory allocation of \d+ bytes failed",
    re.IGNORECASE,
)
"""PyTorch, NumPy, ONNX Runtime, the C++ library, the system's loader, and Rust in safetensors."""

_SIZE = re.compile(
    r"(?:buffer of size|tried to allocate|unable to allocate|allocation of|mmap) "
    r"(\d+(?:\.\d*)?) ?(bytes|[KMGTPE]i?B)?",
    re.IGNORECASE,
)
_NO_DISK = re.compile(r"no space left on device|no usable temporary directory", re.IGNORECASE)
_NO_THREAD = "can't start new thread"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_UNITS = {"b": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_LESS = (
    "Give it more memory (a container's or a shell's limit, other programs), or let it need less: --largest-batch 2 "
    "proves smaller batches, --height and --width set a smaller image"
)


@contextmanager
def shortages_named() -> Iterator[None]:
    """Turn what any library raises where memory or space runs out into our error.

    Raises:
        ShortageError: an error of the block, or one that led to it, says that something ran out.
    """
    try:
        yield
    except (ShortageError, WriteError):  # these say it already
        raise
    except Exception as error:
        message = shortage(error)
        if message is None:
            raise
        raise ShortageError(message) from error


def shortage(error: BaseException) -> str | None:
    """Return what ran out, with figures and the next step; None where neither the error nor what led to it says so."""
    for one in _chain(error):
        text = str(one)
        number = one.errno if isinstance(one, OSError) else None
        if number in _FULL or _NO_DISK.search(text):
            return _of_disk(one)
        if isinstance(one, MemoryError) or number == errno.ENOMEM or _NO_MEMORY.search(text):
            return _of_memory(text)
        if isinstance(one, RuntimeError) and _NO_THREAD in text:
            return (
                "The system starts no more threads: a limit of processes (ulimit -u, a container's pids) or of "
                "memory is reached. Raise it, or set OMP_NUM_THREADS=1"
            )
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _of_memory(text: str) -> str:
    wanted = _wanted(text)
    what = f"{_shown(wanted)} more could not be allocated" if wanted else "an allocation failed"
    return f"The export ran out of memory: {what}{_held()}. {_LESS}"


def _wanted(text: str) -> float | None:
    """Return the bytes that a message says were asked for."""
    found = _SIZE.search(text)
    if found is None:
        return None
    unit = (found[2] or "bytes")[0].lower()
    return float(found[1]) * 2.0 ** (10 * _UNITS[unit])


def _held() -> str:
    """Return what the process holds and its limit, as the end of a sentence; nothing where the system does not say."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    with suppress(OSError, ValueError, KeyError, MemoryError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        kilobytes = {
            name: int(rest.split()[0])
            for name, _, rest in (line.partition(":") for line in lines)
            if name in {"VmSize", "VmRSS"}
        }
        if soft != resource.RLIM_INFINITY:
            held = _shown(kilobytes["VmSize"] * 1024)
            return (
                f"; it holds {held} of address space, and its limit (ulimit -v) is {_shown(soft)}"
            )
        return f"; it holds {_shown(kilobytes['VmRSS'] * 1024)}"
    return ""


def _of_disk(error: BaseException) -> str:
    named = getattr(error, "filename", None)
    where, free = Path(str(named)).parent if named else None, ""
    with suppress(OSError):
        where = where or Path(gettempdir())
        free = f" ({disk_usage(where).free / 1e6:.1f} MB are free)"
    return (
        f"There is no space on the disk for files in {where or 'the folder for temporary files'}{free}. Make room; "
        "TMPDIR names another folder for temporary files, --models one for the servable"
    )


def _shown(size: float) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**27 else f"{size / 2**20:.1f} MiB"
