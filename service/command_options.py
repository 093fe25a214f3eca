"""Options that several commands have."""

from typing import Annotated

import typer

from service.runtime.device import DEVICES

ModelsOption = Annotated[
    str | None,
    typer.Option(
        "--models", help="Folder of the model repository, or its URL: s3://, gs://, hf://, https://"
    ),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", help=f"auto, {', '.join(DEVICES[:-1])} or {DEVICES[-1]}")
]
