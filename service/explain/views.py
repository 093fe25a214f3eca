"""Every view that the service knows, by name, and the types of their results."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from service.explain.cam import CAM, CamResult
from service.explain.convolution import CONVOLUTION, ConvolutionResult
from service.explain.filters import FILTERS, FiltersResult
from service.explain.logit import LOGIT, LogitResult
from service.explain.maps import MAPS, MapsResult
from service.explain.network_input import INPUT, InputResult
from service.explain.occlusion import OCCLUSION, OcclusionResult
from service.explain.patterns import PATTERNS, PatternsResult
from service.explain.probe import PROBE, ProbeResult
from service.explain.rise import RISE, RiseResult
from service.explain.story import STORY, StoryResult
from service.explain.view import View

VIEWS: Mapping[str, View] = {
    view.name: view
    for view in (
        INPUT,
        FILTERS,
        CONVOLUTION,
        MAPS,
        PATTERNS,
        LOGIT,
        CAM,
        OCCLUSION,
        RISE,
        PROBE,
        STORY,
    )
}

ExplainResult = Annotated[
    InputResult
    | FiltersResult
    | ConvolutionResult
    | MapsResult
    | PatternsResult
    | LogitResult
    | CamResult
    | OcclusionResult
    | RiseResult
    | ProbeResult
    | StoryResult,
    Field(discriminator="view"),
]
"""The JSON of one explanation, by its `view`."""
