"""The explanations' options."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from service.api.queries import ModelQuery
from service.explain.request import MOST_SAMPLES, Form, Method, View


class FiltersOptions(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[
        int | None, Field(ge=1, description="Model version; default: the newest")
    ] = None
    format: Annotated[
        Literal["json", "sheet"] | None,
        Field(description="`sheet`: a captioned PNG; default: by `Accept`, else JSON"),
    ] = None
    thumbnails: Annotated[
        bool, Field(description="A PNG as a `data:` URL beside each filter in the JSON")
    ] = False


class ExplainOptions(ModelQuery):
    model_config = ConfigDict(populate_by_name=True)

    view: Annotated[
        View,
        Field(
            description="`filters`: the first convolution; `maps`: each stage's maps; "
            "`patterns`: where a channel fires; "
            "`cam`, `occlusion`, `rise`: which pixels speak for a class; `probe`: how sure it stays; `story`: all"
        ),
    ]
    format: Annotated[
        Form | None,
        Field(
            description="`sheet`: a captioned PNG; `overlay`: the heat over the image; `heat`: the heat alone. "
            "Default: by `Accept`, else JSON"
        ),
    ] = None
    stage: Annotated[
        str | None, Field(max_length=64, description="A stage's name as in the model's card")
    ] = None
    channel: Annotated[int | None, Field(ge=0, description="A channel of that stage")] = None
    channels: Annotated[
        int, Field(ge=1, le=64, description="How many of the strongest channels a stage shows")
    ] = 16
    count: Annotated[int, Field(ge=1, le=25, description="How many peaks")] = 9
    class_name: Annotated[
        str | None,
        Field(
            alias="class", max_length=200, description="A label or class id; default: the top one"
        ),
    ] = None
    box: Annotated[int, Field(ge=0, le=299, description="Which detection, 0 is the best")] = 0
    method: Annotated[
        Method, Field(description="`auto` takes the first of the others that the network allows")
    ] = "auto"
    samples: Annotated[
        int | None,
        Field(
            ge=4,
            le=MOST_SAMPLES,
            description="Perturbed copies; default: 400 for rise, 144 for occlusion, 48–200 for cam",
        ),
    ] = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1, description="Of what is random")] = 0
    score: Annotated[bool, Field(description="Insertion and deletion score too")] = True
    steps: Annotated[int, Field(ge=4, le=64, description="Steps of these curves")] = 16
    thumbnails: Annotated[
        bool,
        Field(description="A PNG as a `data:` URL beside each filter, map or crop in the JSON"),
    ] = False


class ExplainAnswer(BaseModel):
    """What every view answers, before its own fields; docs/explain.md describes these."""

    model_config = ConfigDict(extra="allow")

    model: str
    version: int
    view: View
