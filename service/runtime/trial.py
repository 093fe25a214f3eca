"""A servable → whether it can be let into the service: its first runs happen in a process that is given up if need be.

Once a file has passed, its digest is kept, so that the next start does not try it again.
"""

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service.errors import ServableError
from service.logs import LOGGER
from service.runtime.alone import alone_in
from service.runtime.repository import Servable
from service.runtime.session import RUNTIME_VERSION

log = logging.getLogger(LOGGER)

HELPER = (sys.executable, "-P", "-m", "service.runtime.trial_process")
"""The command of the process: an order in JSON on its standard input, a verdict on its standard output."""

_INHERITED = (
    *("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL"),
    *("TMPDIR", "TMP", "TEMP", "SYSTEMROOT"),
)
"""What the process sees of the environment: no setting of the service, because some are secret."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Tries networks in a process of their own, on the CPU, with limits.

    Args:
        seconds: how long a trial may take.
        memory_bytes: how much memory the network may take beside the process itself.
        folder: where the digests of files that passed are kept; made when needed.
        helper: the command of the process.
    """

    seconds: float
    memory_bytes: int
    folder: Path
    helper: Sequence[str] = HELPER
    _passed: set[str] = field(default_factory=set)

    def require(self, servable: Servable, outputs: Collection[str]) -> None:
        """Run a servable's network on three images, unless its file has passed before; blocking.

        Args:
            servable: what to try; its file is one that the certificate speaks of.
            outputs: that its graph must have.

        Raises:
            ServableError: it failed, ended the process, or took more time or memory than allowed.
        """
        digest = self._digest(servable, outputs)
        with alone_in(self.folder):  # several workers start at the same time
            if digest in self._passed or self._kept(digest).exists():
                return
            self._try(servable, outputs)
            if self._digest(servable, outputs) != digest:
                raise ServableError(
                    f"{servable.path} was changed while it was tried. Start the service again."
                )
            self._passed.add(digest)
            self._keep(digest)

    def _try(self, servable: Servable, outputs: Collection[str]) -> None:
        path = str(servable.path.absolute())
        order = {
            "path": path,
            "outputs": list(outputs),
            "seconds": self.seconds,
            "memory_bytes": self.memory_bytes,
        }
        environment = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        try:
            done = subprocess.run(  # noqa: S603  # our own command
                self.helper,
                input=json.dumps(order).encode(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=environment,
                timeout=self.seconds + _START_SECONDS,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise ServableError(
                f"{servable.path}: its trial did not end within {self.seconds:g} s (FOVEAL_TRIAL_SECONDS)."
            ) from None
        except OSError as error:
            raise ServableError(
                f"{servable.path}: its trial could not start: {error.strerror or error}."
            ) from error
        reason = self._reason(done.returncode, done.stdout)
        if reason:
            is_named = path in reason
            named = reason.replace(path, str(servable.path))
            raise ServableError(named if is_named else f"{servable.path}: {reason}")

    def _reason(self, code: int, answer: bytes) -> str:
        """Return why a trial failed; empty where it did not."""
        verdict = _verdict(answer)
        if verdict is not None:
            return verdict
        if code in _TIMES_UP:
            return f"its trial did not end within {self.seconds:g} s (FOVEAL_TRIAL_SECONDS)."
        ending = f"with {_signal_name(-code)}" if code < 0 else f"with exit code {code}"
        return (
            f"its trial ended its process {ending}. With {self.memory_bytes / 2**20:,.0f} MiB of memory "
            "(FOVEAL_TRIAL_BYTES) the network crashes whatever runs it."
        )

    def _digest(self, servable: Servable, outputs: Collection[str]) -> str:
        """Return the digest of all that a trial depends on."""
        digest = hashlib.sha256()
        try:
            with servable.path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
        except OSError as error:
            raise ServableError(
                f"{servable.path} can not be read: {error.strerror or error}"
            ) from error
        beside = servable.card.certificate.data_sha256
        parts = (_FORMAT, RUNTIME_VERSION, beside, sorted(outputs), self.seconds, self.memory_bytes)
        digest.update(repr(parts).encode())
        return digest.hexdigest()

    def _kept(self, digest: str) -> Path:
        return self.folder / digest

    def _keep(self, digest: str) -> None:
        try:
            self._kept(digest).touch()
        except OSError as error:
            log.info(
                "%s is not writable (%s): models are tried again at the next start",
                self.folder,
                error.strerror,
            )


_FORMAT = 1
"""Another number lets all files be tried again."""
_START_SECONDS = 10.0
"""For the start of the process, before it reads the file; its own clock starts behind that."""
_TIMES_UP = {-getattr(signal, name) for name in ("SIGXCPU", "SIGALRM") if hasattr(signal, name)}


def _verdict(answer: bytes) -> str | None:
    """Return what the process says at its end: why the network failed; None where it did not come so far."""
    try:
        found = json.loads(answer)
    except ValueError:
        return None
    if not isinstance(found, Mapping) or not isinstance(found.get("reason"), str):
        return None
    reason: str = found["reason"]
    return reason


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
