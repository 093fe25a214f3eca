"""`foveal.toml` beside the models: what an operator wants of them. Defaults of tasks; versions, aliases and shares."""

import math
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    TypeAdapter,
    ValidationError,
    field_validator,
)

from service.errors import ConfigurationError, InvalidParameterError
from service.faults import words_of
from service.toml_file import parse_toml, read_text

FLEET_FILE = "foveal.toml"
MODEL_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
ALIAS_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
"""It begins with a letter, so that no alias looks like a version."""
LONGEST_VERSION = 18
LARGEST_VERSION = 10**LONGEST_VERSION - 1
LONGEST_SELECTOR = 64 + 1 + 32
_LATEST = re.compile(r"latest(?:-([1-9][0-9]{0,5}))?")
_SHARES = 100.0
_ROUNDING = 1e-6
_LEAST_SHARE = 1e-4
"""A millionth of the requests; with less than that a version would wait for its first one without end."""


@dataclass(frozen=True, slots=True)
class Selector:
    """A model, or one of its versions: `name`, `name:version` or `name@alias`."""

    name: str
    version: int | None = None
    alias: str | None = None

    def __str__(self) -> str:
        if self.alias is not None:
            return f"{self.name}@{self.alias}"
        return self.name if self.version is None else f"{self.name}:{self.version}"


def parse_selector(text: str) -> Selector:
    """Return what `name`, `name:version` or `name@alias` selects.

    Raises:
        InvalidParameterError: it is none of these.
    """
    name, at, alias = text.partition("@")
    if at:
        if not MODEL_NAME.fullmatch(name) or not ALIAS_NAME.fullmatch(alias):
            raise InvalidParameterError(_not_a_selector(text))
        return Selector(name, alias=alias)
    name, colon, version = text.partition(":")
    if not colon:
        return Selector(text)
    if not MODEL_NAME.fullmatch(name) or not is_version(version):
        raise InvalidParameterError(_not_a_selector(text))
    return Selector(name, version=int(version))


def is_version(text: str) -> bool:
    """Return whether a text is a version: a whole number in at most 18 decimal digits, the first of which is not 0.

    With `01` beside `1` there would be two files of one version. Triton ignores such folders too.
    """
    return (
        len(text) <= LONGEST_VERSION
        and text.isascii()
        and text.isdecimal()
        and not text.startswith("0")
    )


def _not_a_selector(text: str) -> str:
    return f"model: {text[:LONGEST_SELECTOR]!r} selects no model; write name, name:version or name@alias"


class Latest(BaseModel):
    """The newest `count` versions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int = Field(ge=1)

    def __str__(self) -> str:
        return f"latest-{self.count}"


def _policy(value: object) -> object:
    if isinstance(value, str) and (found := _LATEST.fullmatch(value)):
        return Latest(count=int(found[1] or 1))
    if value != "all" and not isinstance(value, Latest) and not _are_versions(value):
        raise ValueError('write "all", "latest-2" or a list of versions')
    return value


def _written(policy: Latest | str | tuple[int, ...]) -> str | tuple[int, ...]:
    """Return a policy as `foveal.toml` writes it."""
    return str(policy) if isinstance(policy, Latest) else policy


def _are_versions(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and bool(value)
        and all(type(one) is int and 0 < one <= LARGEST_VERSION for one in value)
    )


Version = Annotated[int, Field(strict=True, ge=1, le=LARGEST_VERSION)]
Policy = Annotated[
    Literal["all"] | Latest | tuple[Version, ...],
    BeforeValidator(_policy),
    PlainSerializer(_written, return_type=str | tuple[int, ...]),
]


Share = Annotated[float, Field(strict=True)]
"""In percent; a text or a truth value is none."""


class Routes(BaseModel):
    """How the requests for one model find a version.

    Attributes:
        aliases: names for versions.
        weights: the shares, in percent, of requests that name no version; by alias or version, empty: the newest.
        shadow: the alias or version that also runs these requests and never answers them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    aliases: Mapping[str, Version] = {}
    weights: Mapping[str, Share] = {}
    shadow: str | None = None

    @field_validator("aliases")
    @classmethod
    def _names(cls, aliases: Mapping[str, int]) -> Mapping[str, int]:
        for alias in aliases:
            if not ALIAS_NAME.fullmatch(alias):
                raise ValueError(
                    f"{alias[:64]!r} can not be an alias; use a-z first, then a-z, 0-9, _ and -, 32 at most"
                )
        return aliases

    @field_validator("weights")
    @classmethod
    def _shares(cls, weights: Mapping[str, float]) -> Mapping[str, float]:
        for target, share in weights.items():
            if not (math.isfinite(share) and 0 <= share <= _SHARES):
                raise ValueError(f"the share of {target[:64]} is {share:g}; a share is 0 to 100")
            if 0 < share < _LEAST_SHARE:
                raise ValueError(
                    f"the share of {target[:64]} is {share:g}; a share is 0, or {_LEAST_SHARE:g} at least"
                )
        if weights and abs(sum(weights.values()) - _SHARES) > _ROUNDING:
            raise ValueError(f"the shares add up to {sum(weights.values()):g}, not to 100")
        return weights

    @field_validator("shadow", mode="before")
    @classmethod
    def _shadow(cls, shadow: object) -> object:
        return str(shadow) if isinstance(shadow, int) and not isinstance(shadow, bool) else shadow

    @property
    def has_routes(self) -> bool:
        """Whether anything but the newest version answers."""
        return bool(self.aliases or self.weights or self.shadow is not None)

    def version_of(self, target: str) -> int | None:
        """Return the version that an alias, or a version in digits, stands for; None where it is neither."""
        if target in self.aliases:
            return self.aliases[target]
        return int(target) if is_version(target) else None

    def targets(self) -> dict[str, int | None]:
        """Return the version of each alias, share and shadow, None where it is none; by what names it."""
        found: dict[str, int | None] = {}
        for alias, version in self.aliases.items():
            found[f"the alias {alias}"] = version
        for target in self.weights:
            found[f"the share of {target}"] = self.version_of(target)
        if self.shadow is not None:
            found["the shadow"] = self.version_of(self.shadow)
        return found


NO_ROUTES = Routes()


class ModelPlan(Routes):
    """What is wanted of one model.

    Attributes:
        versions: which of its versions are served: `all`, the newest ones, or a list.
        ttl_seconds: it is unloaded when no request came for so long, and comes back with the next one; None: never.
    """

    versions: Policy = "all"
    ttl_seconds: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None


NO_PLAN = ModelPlan()


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is wanted of all models.

    Attributes:
        defaults: by task, what answers it when a request names no model.
        models: by name, what is wanted of it.
        digest: changes with the file; the same in each process.
    """

    defaults: Mapping[str, Selector]
    models: Mapping[str, ModelPlan]
    digest: int = 0

    def plan(self, name: str) -> ModelPlan:
        return self.models.get(name, NO_PLAN)


NO_FLEET = Fleet({}, {})


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    defaults: dict[str, str] = {}
    models: dict[str, ModelPlan] = {}


_FILE = TypeAdapter(_File)


def read_fleet(root: Path) -> Fleet:
    """Return what `root/foveal.toml` says; nothing where there is no such file.

    Raises:
        ConfigurationError: it can not be read, or does not say what such a file can say.
    """
    path = root / FLEET_FILE
    try:
        text = read_text(path)
        found = _FILE.validate_python(parse_toml(text))
        defaults = {task: parse_selector(one) for task, one in found.defaults.items()}
    except FileNotFoundError as error:
        if path.is_symlink():
            raise ConfigurationError(f"{path}: it is a link that leads nowhere.") from error
        return NO_FLEET
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}.") from error
    except ValidationError as error:
        raise ConfigurationError(f"{path}: {first_fault(error)}.") from error
    except InvalidParameterError as error:
        raise ConfigurationError(f"{path}: defaults: {error}.") from error
    return Fleet(defaults, found.models, zlib.crc32(text.encode()))


def read_routes(given: Mapping[str, Any]) -> Routes:
    """Return routes of values from outside.

    Raises:
        InvalidParameterError: an alias, a version or a share is none.
    """
    try:
        return Routes.model_validate(given)
    except ValidationError as error:
        raise InvalidParameterError(first_fault(error)) from error


def first_fault(error: ValidationError) -> str:
    """Return where the first fault is, and what it is."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"] if "[" not in str(part))
    reason = words_of(first).removeprefix("Value error, ")
    return f"{where}: {reason}" if where else reason
