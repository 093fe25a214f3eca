"""Compose, the image and the guide: every path, port, route and setting in them is the project's own."""

import fnmatch
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from service.settings import PREFIX, Settings, read_settings
from tests.docker.files import (
    CONSTRAINTS,
    DOCKERFILE,
    GUIDE,
    ROOT,
    compose,
    image_environment,
    instructions,
    project,
)

SERVICES: dict[str, dict[str, Any]] = compose()["services"]
OURS = {name: parts for name, parts in SERVICES.items() if "build" in parts}


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match
    return int(match[1])


def longest_end(settings: Settings) -> float:
    """Return the seconds after SIGTERM when `foveal serve` ends at the latest: its grace, then its drain."""
    return settings.grace_seconds + (settings.timeout_ms / 1e3 + settings.grace_seconds)


def settings_of(service: dict[str, Any]) -> Settings:
    """Return the settings that a container of this service starts with."""
    environment = {**image_environment(), **service.get("environment", {})}
    options = {name.removeprefix(PREFIX).lower(): value for name, value in environment.items()}
    return read_settings(environment, options)


def test_every_setting_that_is_named_is_one() -> None:
    texts = [DOCKERFILE.read_text(), GUIDE.read_text(), (ROOT / "docker-compose.yml").read_text()]
    texts += [
        path.read_text()
        for path in (ROOT / "docker").rglob("*")
        if path.suffix in {".yml", ".json", ".py"}
    ]
    named = {name for text in texts for name in re.findall(rf"\b{PREFIX}[A-Z0-9_]*[A-Z0-9]", text)}

    assert named
    assert {name.removeprefix(PREFIX).lower() for name in named} <= set(Settings.model_fields)


@pytest.mark.parametrize("service", OURS)
def test_the_service_can_start_with_the_environment_it_is_given(service: str) -> None:
    settings = settings_of(OURS[service])

    assert settings.host == "0.0.0.0"  # noqa: S104  a container's port is published from outside it
    assert settings.models == Path("/models")


@pytest.mark.parametrize("service", OURS)
def test_ports_agree_from_the_host_to_the_socket(service: str) -> None:
    (published,) = OURS[service]["ports"]
    port = str(settings_of(OURS[service]).port)

    assert published.rpartition(":")[2] == port
    assert instructions("EXPOSE") == [port]


def test_no_two_services_want_the_same_port_of_the_host_even_with_every_profile() -> None:
    hosts = [
        port.rpartition(":")[0].rpartition(":")[2]
        for service in SERVICES.values()
        for port in service["ports"]
    ]

    assert len(set(hosts)) == len(hosts)


@pytest.mark.parametrize("service", OURS)
def test_the_service_is_given_time_to_finish_what_it_accepted(service: str) -> None:
    settings = settings_of(OURS[service])

    assert seconds(OURS[service]["stop_grace_period"]) > longest_end(settings)


@pytest.mark.parametrize("service", OURS)
def test_the_service_runs_with_nothing_it_does_not_need(service: str) -> None:
    parts = OURS[service]

    assert parts["read_only"] is True
    assert parts["cap_drop"] == ["ALL"]
    assert parts["security_opt"] == ["no-new-privileges:true"]
    assert parts["tmpfs"] == ["/tmp"]  # noqa: S108  the container's own
    assert instructions("USER") == ["10001:10001"]


def test_plain_up_starts_the_cpu_service_and_the_gpu_one_waits_for_its_profile() -> None:
    (device,) = SERVICES["foveal-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert [name for name, parts in SERVICES.items() if "profiles" in parts] == ["foveal-gpu"]
    assert device["driver"] == "nvidia"
    assert device["capabilities"] == ["gpu"]
    assert settings_of(SERVICES["foveal-gpu"]).device == "cuda"


def test_every_path_of_compose_exists() -> None:
    for service in SERVICES.values():
        mounts = [mount.split(":")[0] for mount in service.get("volumes", ())]
        for path in (mount for mount in mounts if mount.startswith(".")):
            assert (ROOT / path).is_dir(), path
    for service in OURS.values():
        assert ROOT / service["build"]["context"] / service["build"]["dockerfile"] == DOCKERFILE


def test_every_file_that_the_image_copies_exists_and_reaches_the_builder() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in line.split()[:-1]
    ]

    assert copied
    assert sorted(set(copied)) == sorted(allowed)
    assert [path for path in copied if not (ROOT / path).exists()] == []


def test_the_readme_and_licenses_that_the_wheel_names_are_copied() -> None:
    copied = " ".join(instructions("COPY")).split()

    assert project()["readme"] in copied
    assert all(any(fnmatch.fnmatch(name, p) for name in copied) for p in project()["license-files"])


def test_images_are_pinned_to_a_patch_release() -> None:
    bases = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE.read_text(), flags=re.MULTILINE)
    images = [parts["image"] for name, parts in SERVICES.items() if name not in OURS] + bases

    assert len(images) == 3
    assert all(re.search(r":v?\d+\.\d+\.\d+(-[a-z-]+)?$", image) for image in images)
    assert all(line.startswith("${PYTHON_IMAGE}") for line in instructions("FROM"))


def test_our_own_image_bears_the_version_of_the_project() -> None:
    tags = {parts["image"].removeprefix("foveal:") for parts in OURS.values()}

    assert tags == {project()["version"], f"{project()['version']}-cuda"}


def test_the_extras_of_the_images_exist() -> None:
    extras = {parts["build"].get("args", {}).get("EXTRAS") for parts in OURS.values()} - {None}

    assert extras == {"cuda"}
    assert extras <= set(project()["optional-dependencies"])


def test_the_image_starts_the_command_that_the_project_installs_so_that_signals_reach_it() -> None:
    assert instructions("ENTRYPOINT") == ['["foveal"]']
    assert instructions("CMD") == ['["serve"]']
    assert "foveal" in project()["scripts"]


def test_the_health_check_of_compose_is_the_image_s() -> None:
    (check,) = instructions("HEALTHCHECK")
    command = tomllib.loads("command = " + check.partition("CMD ")[2])["command"]
    times = {name.replace("-", "_"): value for name, value in re.findall(r"--(\S+)=(\S+)", check)}

    for service in OURS.values():
        healthcheck = {
            name: str(value) for name, value in service["healthcheck"].items() if name != "test"
        }
        assert service["healthcheck"]["test"] == ["CMD", *command]
        assert healthcheck == times


def test_the_constraints_pin_every_dependency_within_what_the_project_asks() -> None:
    pins = dict(
        line.split("==")
        for line in CONSTRAINTS.read_text().splitlines()
        if not line.startswith("#")
    )
    requirements = [
        Requirement(line)
        for line in (*project()["dependencies"], *project()["optional-dependencies"]["cuda"])
    ]

    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        assert name in pins, "renew with: python docker/pin.py"
        assert requirement.specifier.contains(pins[name])
    assert pins["onnxruntime"] == pins["onnxruntime-gpu"]
