"""`foveal lock`: what is served of a place, with its digests → a lock file."""

from collections.abc import Collection
from pathlib import Path

from service.card import CardError
from service.errors import ConfigurationError
from service.runtime.variants import unusable_variants
from service.servable_file import check_certificate
from service.storage.lock_file import Pin, digests_in, version_digest, write_lock
from service.storage.storage import ModelStorage


def lock_models(storage: ModelStorage, path: Path, wanted: Collection[str]) -> list[str]:
    """Write a lock of what can be served, and return why the rest is not in it, or can not be used; blocking.

    A version is pinned with a variant that can not be used, since it is served without it.

    Args:
        storage: where the models are found; nothing may pin them yet.
        path: the lock file.
        wanted: `name` or `name:version` of what is pinned; empty: everything.

    Raises:
        ConfigurationError: there is nothing to pin, or the file can not be written.
    """
    storage.refresh()
    servables, refusals = storage.scan()
    reasons = [one.reason for one in refusals if not wanted or one.name in wanted]
    left = set(wanted)
    pins = []
    for servable in servables:
        named = f"{servable.name}:{servable.version}"
        names = {servable.name, named}
        if wanted and not names & set(wanted):
            continue
        left -= names
        try:
            check_certificate(servable.path, servable.card)
            files = digests_in(servable.path.parent)
        except (CardError, OSError) as error:
            reasons.append(str(error))
            continue
        reasons.extend(f"{named} is pinned, but {fault}" for fault in unusable_variants(servable))
        pins.append(
            Pin(
                name=servable.name,
                version=servable.version,
                digest=version_digest(files),
                source=storage.name,
                files=files,
            )
        )
    if left:
        raise ConfigurationError(f"{storage.name} has no {', '.join(sorted(left))}.")
    if not pins:
        raise ConfigurationError(
            f"{storage.name} has nothing that could be pinned. {' '.join(reasons)}".rstrip()
        )
    write_lock(path, pins)
    return reasons
