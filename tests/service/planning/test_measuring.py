"""A model is measured through the service itself, in another process."""

from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.planning.command import Wanted, find_servable, measured_here, notes_on
from service.planning.full_load import measure_full_load
from service.planning.measuring import Settings, measure
from service.planning.profile import Machine, this_machine
from service.planning.sample_image import SampleImage, sample_image
from service.runtime.device import Device
from service.runtime.repository import scan_repository
from tests.servables import color_card, write_servable
from tests.service.planning.profiles import make_profile

CPU = Device("cpu", 0, "any")


def test_a_model_is_measured_stage_by_stage_and_at_full_load(
    repository: Path, tmp_path: Path
) -> None:
    (servable,), _ = scan_repository(repository)
    steps: list[str] = []
    settings = Settings(CPU, tmp_path / "cache", threads=2, largest=3)
    profile = measure(servable, sample_image("64x48"), settings, steps.append, load_seconds=0.2)
    assert steps == [
        "loads colors",
        "times its batches",
        "starts the service and sends it images",
    ]
    assert (profile.workers, profile.instances, profile.processes) == (2, 2, 1)
    assert profile.batches[0].size == 1
    assert profile.batches[-1].size <= 3
    assert profile.graph_sha256 == servable.card.certificate.graph_sha256
    assert profile.macs == servable.card.cost.macs
    assert 0 < profile.decode < 1
    assert profile.replica().capacity == pytest.approx(profile.full_load, rel=0.01)


def test_a_service_that_does_not_answer_the_image_is_told_of(repository: Path) -> None:
    (servable,), _ = scan_repository(repository)
    noise = SampleImage("noise", b"no image")
    with pytest.raises(ConfigurationError, match=r"did not answer the image: .*no image"):
        measure_full_load(servable, noise, "/v1/classify", {}, clients=1, seconds=0.1)


def test_a_service_that_does_not_start_says_why(repository: Path) -> None:
    (servable,), _ = scan_repository(repository)
    with pytest.raises(ConfigurationError, match=r"did not start: .*FOVEAL_THREADS"):
        measure_full_load(
            servable,
            sample_image("8x8"),
            "/v1/classify",
            {"FOVEAL_THREADS": "none"},
            clients=1,
        )


def test_an_image_that_can_not_be_read_is_refused_before_anything_is_measured(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.jpg").write_text("no image")
    steps: list[str] = []
    with pytest.raises(ConfigurationError, match=r"text\.jpg: "):
        measured_here(
            scan_repository(repository)[0],
            Wanted(image=str(tmp_path / "text.jpg")),
            Settings(CPU, tmp_path),
            steps.append,
        )
    assert steps == []


def test_the_newest_version_is_measured_unless_one_is_named(repository: Path) -> None:
    write_servable(repository, "colors", 2)
    servables, _ = scan_repository(repository)
    assert find_servable(servables, None).version == 2
    assert find_servable(servables, "colors").version == 2
    assert find_servable(servables, "colors:1").version == 1
    for unknown in ("color", "colors:3", "colors:x", ""):
        with pytest.raises(ConfigurationError, match="Models: colors"):
            find_servable(servables, unknown)


def test_one_of_several_models_must_be_named(repository: Path) -> None:
    write_servable(repository, "shades", card=color_card())
    servables, _ = scan_repository(repository)
    with pytest.raises(ConfigurationError, match=r"--model NAME\. Models here: colors, shades"):
        find_servable(servables, None)


def test_a_plan_says_what_is_doubtful_in_its_measurement(repository: Path) -> None:
    here = this_machine("cpu", "")
    quiet = make_profile(machine=here)
    assert notes_on(quiet, repository / "none", measured=True) == []
    other = make_profile(
        machine=Machine(processor="Abacus 3", cores=here.cores + 1, device="cpu", detail="")
    )
    (note,) = notes_on(other, repository / "none", measured=True)
    assert "measured on another machine" in note
    assert "Abacus 3" in note
    (note,) = notes_on(quiet, repository, measured=True)
    assert "is another network than the measured one" in note
    (note,) = notes_on(make_profile(foreign_cores=1.25), repository, measured=False)
    assert "Other programs used 1.2 cores" in note
    chatty = make_profile(machine=here.model_copy(update={"cores": 8}), http=0.008)
    (note,) = notes_on(chatty, repository, measured=False)
    assert "--workers 8" in note
