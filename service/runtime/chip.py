"""What this processor is: its name, and the instructions on which the speed of a precision depends."""

import platform
from pathlib import Path

from service.value import value

CPU_INFO = Path("/proc/cpuinfo")

INSTRUCTIONS = frozenset(
    {
        *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16"),
        *("amx_tile", "amx_int8", "amx_bf16"),
        *("asimddp", "i8mm", "bf16"),
    }
)
"""As Linux names them; the last line are ARM's."""
BF16 = frozenset({"amx_bf16", "avx512_bf16"})
"""With one of them, products of bf16 are faster than those of float32."""


@value
class Chip:
    """A processor. Where the system does not state its instructions, it has none of them here."""

    name: str
    instructions: tuple[str, ...] = ()

    @property
    def has_bf16(self) -> bool:
        return not BF16.isdisjoint(self.instructions)

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.instructions) or 'instructions unknown'})"


def this_chip(path: Path = CPU_INFO) -> Chip:
    """Return the processor that this process runs on."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        text = ""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        name, _, content = line.partition(":")
        fields.setdefault(name.strip(), content.strip())
    flags = (fields.get("flags") or fields.get("Features") or "").split()
    name = fields.get("model name") or platform.processor() or platform.machine()
    return Chip(name, tuple(sorted(INSTRUCTIONS.intersection(flags))))
