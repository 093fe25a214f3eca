"""`foveal plan`: the measurement that it plans with, and what must be said of it."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from service.card import CardError
from service.errors import ConfigurationError
from service.planning.measuring import Settings, measure
from service.planning.profile import Profile, read_profile, this_machine
from service.planning.sample_image import sample_image
from service.runtime.repository import Servable, scan_repository
from service.servable_file import graph_sha256

DEFAULT_IMAGE = "640x480"
QUIET_CORES = 0.1
"""What other programs may use while a measurement is made."""
BUSY_LOOP = 0.5
"""An event loop that is busy for so much of the time may be what limits a process."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be planned with. None: not given.

    Attributes:
        model: its name, or `name:version`.
        device: a device's name or `auto`.
        image: a size such as `640x480`, or a file.
        processes: workers on each machine.
    """

    model: str | None = None
    device: str | None = None
    image: str | None = None
    processes: int | None = None


def measured_here(
    servables: Collection[Servable],
    wanted: Wanted,
    settings: Settings,
    progress: Callable[[str], None],
) -> Profile:
    """Measure what is wanted, of the models that there are, on this machine.

    Raises:
        ConfigurationError: there is no such model or image, or it can not be measured.
    """
    servable = find_servable(servables, wanted.model)
    return measure(servable, sample_image(wanted.image or DEFAULT_IMAGE), settings, progress)


def measured_before(file: Path, wanted: Wanted) -> Profile:
    """Return the measurement in a file, which must be of what is wanted.

    Raises:
        ConfigurationError: it can not be read, or is of another model, device, image or number of workers.
    """
    profile = read_profile(file)
    image = sample_image(wanted.image) if wanted.image is not None else None
    if wanted.model is not None and wanted.model not in {
        profile.model,
        f"{profile.model}:{profile.version}",
    }:
        raise _differs(file, "model", f"{profile.model}:{profile.version}", wanted.model)
    if wanted.device not in {None, "auto", profile.machine.device}:
        raise _differs(file, "device", profile.machine.device, wanted.device)
    if image is not None and (image.title, len(image.content)) != (
        profile.image,
        profile.image_bytes,
    ):
        raise _differs(file, "image", profile.image, image.title)
    if wanted.processes not in {None, profile.processes}:
        raise _differs(file, "workers", profile.processes, wanted.processes)
    return profile


def notes_on(profile: Profile, models: Path | None, *, measured: bool) -> list[str]:
    """Return what the reader of a plan must know of its measurement, a sentence or two each.

    Args:
        profile: the measurement.
        models: the repository here, where the model may lie too; None: there is none.
        measured: whether it comes from a file.
    """
    notes = []
    if measured:
        here = this_machine(profile.machine.device, profile.machine.detail)
        if (here.processor, here.cores) != (profile.machine.processor, profile.machine.cores):
            notes.append(
                f"This was measured on another machine than this one ({here.processor}, {here.cores} cores). The plan "
                f"holds for machines like that one: {profile.machine}."
            )
        if (note := _other_file(profile, models)) is not None:
            notes.append(note)
    if (profile.foreign_cores or 0.0) > QUIET_CORES:
        notes.append(
            f"Other programs used {profile.foreign_cores:.1f} cores during the measurement, so a quiet machine does "
            "more than the plan says. Measure again when nothing else runs."
        )
    loop = profile.full_load / profile.processes * profile.http
    if loop > BUSY_LOOP and profile.processes < profile.machine.cores:
        notes.append(
            f"The event loop of a worker is busy for {loop:.0%} of the time at full load, so more workers on a machine "
            f"may do more: measure with --workers {profile.machine.cores}."
        )
    return notes


def find_servable(servables: Collection[Servable], wanted: str | None) -> Servable:
    """Return the newest version of the model of this name, or the version of `name:version`.

    Raises:
        ConfigurationError: there is none; or None is wanted and there are several.
    """
    names = dict.fromkeys(one.name for one in servables if one.card.input is not None)
    listed = ", ".join(names) or "none"
    if wanted is None:
        if len(names) != 1:
            raise ConfigurationError(f"Name a model: --model NAME. Models here: {listed}.")
        (wanted,) = names
    name, _, version = wanted.partition(":")
    found = [one for one in servables if one.name == name and version in {"", str(one.version)}]
    if not found:
        raise ConfigurationError(f"There is no model {wanted!r} here. Models: {listed}.")
    return max(found, key=lambda one: one.version)


def _differs(file: Path, what: str, measured: object, wanted: object) -> ConfigurationError:
    return ConfigurationError(
        f"{file} was measured with the {what} {measured}, not {wanted}. Measure what you want with --save FILE, or "
        f"leave --{what} out."
    )


def _other_file(profile: Profile, models: Path | None) -> str | None:
    """Return what to say where the model here is another one than the measured; None where nothing is known of it."""
    if models is None or not models.is_dir():
        return None
    servables, _ = scan_repository(models)
    for one in servables:
        if (one.name, one.version) != (profile.model, profile.version):
            continue
        try:
            if graph_sha256(one.path, one.card.certificate.digest) == profile.graph_sha256:
                return None
        except (CardError, OSError):
            return None
        return (
            f"The file of {one.name} version {one.version} in {models} is another network than the measured one; "
            "measure it again."
        )
    return None
