"""`foveal reference` and `openapi`: documents that are made from the code."""

import json
import os
from typing import Annotated

import typer

from service.app import create_app
from service.command_options import ModelsOption
from service.engine import Engine
from service.reference.pages import PAGES
from service.settings import read_settings


def reference_command(
    page: Annotated[str, typer.Argument(help=", ".join(PAGES), metavar="PAGE")],
) -> None:
    """Print a page of reference that is made from the code, as Markdown.

    Example: foveal reference settings
    """
    if page not in PAGES:
        raise typer.BadParameter(f"there is no page {page!r}. Pages: {', '.join(PAGES)}.")
    typer.echo(PAGES[page]().rstrip())


def openapi_command(models: ModelsOption = None) -> None:
    """Print the OpenAPI document, to generate clients from; the service gives the same at /openapi.json."""
    settings = read_settings(os.environ, {"models": models})
    document = create_app(Engine(settings), settings).fastapi.openapi()
    typer.echo(json.dumps(document, indent=1, ensure_ascii=False))
