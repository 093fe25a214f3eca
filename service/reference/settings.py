"""The reference of the settings as Markdown, made from their fields."""

from pydantic.fields import FieldInfo

from service.reference.markdown import cell, table, values_of
from service.settings import PREFIX, Settings

HEADER = """# Settings

Made from `service/settings.py` by `make reference`; do not edit.

Settings are environment variables. `foveal serve` has options for the most common ones. An unknown name `FOVEAL_…`
stops the start. Lists and tables are JSON.

If a device that is requested by name does not work, the service stops at the start with the reason and the remedy;
nothing falls back in silence. `foveal doctor` reports what the machine offers and whether each model's certificate
holds. `foveal models` lists the models and their cost per image. `foveal warm` compiles the models for a device ahead
of time.
"""

SEE = {
    "cors_origins": "security.md#who-may-come-in",
    "decode": "security.md#images-from-strangers",
    "deterministic": "performance.md#the-same-answer-in-every-batch",
    "keys": "security.md#who-may-come-in",
    "models": "storage.md",
    "models_lock": "storage.md#lock",
    "models_cache": "storage.md#the-cache",
    "max_metadata_bytes": "images.md#metadata",
    "trial": "security.md#the-model-repository",
    "workers": "deploy.md#several-workers",
    "response_cache_bytes": "cache.md",
}
"""Where a page says more about a setting, relative to docs/."""


def reference() -> str:
    """Return a row for each setting: its name, default, values and meaning."""
    rows = [_row(name, field) for name, field in Settings.model_fields.items()]
    return "\n".join([HEADER, *table(("variable", "default", "values", "meaning"), rows)])


def _row(name: str, field: FieldInfo) -> tuple[str, ...]:
    more = f" ([more]({SEE[name]}))" if name in SEE else ""
    meaning = cell(f"{field.description}{more}")
    return f"`{PREFIX}{name.upper()}`", _default(field), values_of(field), meaning


def _default(field: FieldInfo) -> str:
    shown = "" if field.default is None else str(field.default)
    return f"`{shown}`" if shown else ""
