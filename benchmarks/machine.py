"""The machine of a run: the processor, its instruction sets that matter here, and package versions."""

import functools
import os
import platform
import re
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import onnxruntime

from service.runtime.host import granted_cores

CPU_INFO = Path("/proc/cpuinfo")
FLAGS = {
    "avx2": "avx2",
    "avx512f": "avx512",
    "avx512_vnni": "avx512-vnni",
    "avx_vnni": "avx-vnni",
    "avx512_bf16": "avx512-bf16",
    "amx_bf16": "amx-bf16",
    "amx_int8": "amx-int8",
    "asimddp": "neon-dot",
    "i8mm": "neon-i8mm",
    "sve": "sve",
}
"""The Linux kernel's flag of an instruction set that makes networks faster → its common name."""
LEVELS = {
    "amx": "amx",
    "avx512-vnni": "avx512-vnni",
    "avx-vnni": "avx-vnni",
    "avx512": "avx512",
    "avx2": "avx2",
    "neon-i8mm": "neon-i8mm",
    "neon": "neon",
}
"""The beginning of a flag → the level of a processor, the highest first: figures of two levels do not compare."""
PACKAGES = (
    *("foveal", "onnxruntime-ep-openvino", "numpy", "pillow", "fastapi", "uvicorn", "starlette"),
)


@dataclass(frozen=True, slots=True)
class Machine:
    processor: str
    cores: float
    memory_gib: float
    flags: tuple[str, ...]
    system: str
    python: str
    versions: dict[str, str]

    @property
    def level(self) -> str:
        """The best instruction set that matters for networks; empty where none is known."""
        found = (
            level
            for start, level in LEVELS.items()
            if any(flag.startswith(start) for flag in self.flags)
        )
        return next(found, "")

    @property
    def slug(self) -> str:
        words = re.sub(r"\((r|tm)\)|processor|cpu|@.*", " ", self.processor.lower())
        name = re.findall("[a-z0-9]+", words)
        return "-".join([*name, *([self.level] if self.level else []), f"{self.cores:g}-cores"])

    def has(self, flag: str) -> bool:
        return any(name == flag or name.startswith(f"{flag}-") for name in self.flags)


@functools.cache
def describe_machine() -> Machine:
    text = CPU_INFO.read_text() if CPU_INFO.exists() else ""
    model = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    known = set(listed[1].split()) if listed else set()
    return Machine(
        processor=model[1].strip() if model else platform.processor() or platform.machine(),
        cores=granted_cores(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        flags=tuple(name for flag, name in FLAGS.items() if flag in known),
        system=f"{platform.system()} {platform.release()}",
        python=sys.version.split()[0],
        versions={"onnxruntime": onnxruntime.__version__, **_versions()},
    )


def machine_of(content: dict[str, Any]) -> Machine:
    """Return the machine from the content of a JSON file that holds it."""
    return Machine(**{**content, "flags": tuple(content["flags"])})


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
