"""`python -m tests.fuzz TARGET FOLDER [option of libFuzzer …]`: fuzzes one target with atheris, guided by coverage.

FOLDER keeps the inputs that reach new code, and each input that fails as `crash-…`.
"""

import logging
import sys
import warnings
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["service"], enable_loader_override=False):
    from tests.fuzz.seeds import seeds_of
    from tests.fuzz.targets import TARGETS

LONGEST_SECONDS = 8
MOST_MIB = 2048
LONGEST_BYTES = 100_000


def main() -> None:
    target, folder = sys.argv[1], Path(sys.argv[2])
    if target not in TARGETS:
        sys.exit(f"There is no target {target!r}. Targets: {', '.join(TARGETS)}.")
    corpus = folder / target
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds_of(target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    warnings.simplefilter("ignore")
    logging.disable()
    options = [
        f"-artifact_prefix={folder}/{target}-",
        f"-timeout={LONGEST_SECONDS}",
        f"-rss_limit_mb={MOST_MIB}",
        f"-max_len={LONGEST_BYTES}",
        *sys.argv[3:],
        str(corpus),
    ]

    def run(body: bytes) -> None:
        TARGETS[target](body)

    atheris.Setup([sys.argv[0], *options], run)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
