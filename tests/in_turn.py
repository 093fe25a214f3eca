"""Which test files run one after the other in one process, whatever the others do."""

from pathlib import PurePath

from xdist.scheduler import LoadFileScheduling

RAY = "ray"
"""Files whose names have this word start a Ray cluster. Two that start together take each other's cores, and give up
after minutes."""


class InTurn(LoadFileScheduling):  # type: ignore[misc]  # pytest-xdist has no types
    """Gives each process one file after the other, and all those with a Ray cluster to the same one."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return RAY if RAY in PurePath(file).stem.split("_") else file
