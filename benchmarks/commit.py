"""Which code a run measures: the commit, and whether anything was changed after it."""

import hashlib
import subprocess
from pathlib import Path

from benchmarks.contenders import ROOT

MEASURED = ("service", "models", "benchmarks", "pyproject.toml", ":(exclude)benchmarks/results")
"""The paths on which figures depend; what a run writes itself is not among them."""
SHORT = 12


def describe_commit(root: Path = ROOT) -> str:
    """Return the commit's digest, with a digest of what was changed after it; empty where there is no git."""
    head = _git(root, "rev-parse", "HEAD")
    if head is None:
        return ""
    changes = hashlib.sha256(_git(root, "diff", "HEAD", "--", *MEASURED) or b"")
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *MEASURED)
    names = [name for name in (untracked or b"").split(b"\0") if name]
    for name in names:
        changes.update(name + b"\0" + (root / name.decode()).read_bytes())
    commit = head.decode().strip()[:SHORT]
    nothing = not names and changes.digest() == hashlib.sha256(b"").digest()
    return commit if nothing else f"{commit}, changed ({changes.hexdigest()[:SHORT]})"


def _git(root: Path, *words: str) -> bytes | None:
    try:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, check=False)
    except OSError:
        return None
    return done.stdout if done.returncode == 0 else None
