"""The commands by name; each is imported when it is called."""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_command as command_of

PLACES: Mapping[str, str] = {
    "predict": "bulk:predict_command",
    "evaluate": "bulk:evaluate_command",
    "serve": "serve:serve_command",
    "models": "models:models_command",
    "pull": "storage:pull_command",
    "lock": "storage:lock_command",
    "warm": "models:warm_command",
    "reload": "reload:reload_command",
    "reference": "reference:reference_command",
    "openapi": "reference:openapi_command",
    "doctor": "models:doctor_command",
    "plan": "plan:plan_command",
    "key": "keys:key_commands",
}
"""The module in this package, and what is to be called in it. In the order in which `foveal --help` lists them."""


class _Imported(Mapping[str, Any]):
    """Each command by its name, imported when it is looked up."""

    def __iter__(self) -> Iterator[str]:
        return iter(PLACES)

    def __len__(self) -> int:
        return len(PLACES)

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401  # a command of typer's or of click's
        module, _, attribute = PLACES[name].partition(":")
        with _collector_paused(), _named_end():
            found = getattr(import_module(f"{__package__}.{module}"), attribute)
        app = found
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
            app.command()(found)
        command = command_of(app)
        command.name = name
        return command


class Commands(TyperGroup):
    """Imports only the command that is called: `foveal serve` is ready a seventh of a second earlier."""

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401  # as typer calls it
        super().__init__(**arguments)
        self.commands = _Imported()  # type: ignore[assignment]  # nobody adds to it

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  # a context of typer's or of click's
        with _named_end():
            return super().invoke(ctx)

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ANN401, ARG002  # a context of typer's or of click's
        return list(PLACES)


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Collect no garbage during an import: there is none, and looking for it takes a tenth of the time."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _named_end() -> Iterator[None]:
    """Give an unexpected end of a file a traceback; typer takes it for that of its input, and only says "Aborted"."""
    try:
        yield
    except EOFError as error:
        raise RuntimeError(
            "A file ended too early. Where the traceback above ends in an import, it is one of compiled Python, which "
            "a full disk has cut short: remove the folders __pycache__."
        ) from error
