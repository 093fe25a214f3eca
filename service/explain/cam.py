"""`view=cam`: which pixels a class depends on, by the network's own feature maps where it allows that."""

from typing import Literal, NotRequired

from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from service.card import Card, Stage
from service.errors import InvalidParameterError
from service.explain.class_activation import eigen_cam, exact_cam
from service.explain.explanation import Explanation
from service.explain.heat import (
    HEAT_FORMS,
    HEAT_OPTIONS,
    ExplainedHeat,
    HeatEvidence,
    HeatMethod,
    MadeHeat,
    Subject,
    explain_heat,
)
from service.explain.request import ExplainRequest
from service.explain.rise import rise_method
from service.explain.view import View
from service.graph.anatomy import Anatomy
from service.graph.linear_head import LinearHead
from service.heads.outputs import Outputs
from service.heads.rounding import finite
from service.heads.targets import ClassTarget
from service.imaging.overlay import RenderedImage
from service.runtime.job import JobResult

USUAL_MASKS = 200
"""How many random masks run by default, if the deadline allows it."""
FEWEST_PLACES = 5
"""EigenCAM takes the deepest map that has at least so many places along each side; a smaller map is too coarse."""

CamMethod = Literal["cam", "eigencam", "rise"]


@with_config(ConfigDict(extra="forbid"))
class _Provenance(TypedDict, total=False):
    stage: str
    samples: int
    seed: int


@with_config(ConfigDict(extra="forbid"))
class CamResult(HeatEvidence):
    """A heat by class activation maps, or by random masks where the network has no such maps.

    `width` and `height` are the displayed image's; `stage` names the map that the heat was made from.
    """

    view: Literal["cam"]
    width: int
    height: int
    method: CamMethod
    stage: NotRequired[str]
    samples: NotRequired[int]
    seed: NotRequired[int]


def exact_method(head: LinearHead, card: Card) -> HeatMethod:
    """Return exact CAM for a classifier whose head is average pooling and one linear layer."""

    def read(outputs: Outputs, subject: Subject) -> MadeHeat:
        assert isinstance(subject.target, ClassTarget), "only classifiers have a linear head"
        class_id = subject.target.class_id
        maps = finite(outputs[head.map])
        maps = maps.transpose(2, 0, 1) if head.channels_last else maps
        stage = next((stage.name for stage in card.stages if stage.tensor == head.map), None)
        return MadeHeat(
            exact_cam(maps, head.weights[class_id]),
            "exact class activation map",
            stage=stage,
            bias=float(head.bias[class_id]),
        )

    return HeatMethod("cam", "What speaks for {}", read=read)


def eigen_method(card: Card, stage: Stage | None = None) -> HeatMethod:
    """Return EigenCAM of a stage; None: of the deepest stage that has enough places."""

    def read(outputs: Outputs, subject: Subject) -> MadeHeat:
        chosen = stage or _deepest(outputs, card)
        maps = finite(outputs[chosen.tensor])
        heat = eigen_cam(maps, subject.target.place(*maps.shape[1:]))
        return MadeHeat(heat, f"EigenCAM of {chosen.name}", stage=chosen.name)

    return HeatMethod("eigencam", "What stands out", read=read)


def one_run_method(card: Card, anatomy: Anatomy) -> HeatMethod:
    """Return the method that needs no perturbed copies: exact CAM where the head allows it, else EigenCAM."""
    return exact_method(anatomy.head, card) if anatomy.head is not None else eigen_method(card)


def choose_method(card: Card, anatomy: Anatomy, request: ExplainRequest) -> HeatMethod:
    """Return the method that the request names, else the first that the network allows.

    A stage in the request means EigenCAM of this stage. Random masks that the request does not name give way to
    EigenCAM where there is no time for them.

    Raises:
        InvalidParameterError: the network does not allow the method.
    """
    if request.method == "cam" and anatomy.head is None:
        others = "eigencam, rise" if card.stages else "rise"
        raise InvalidParameterError(
            f"method: {card.name} has no head of average pooling and one linear layer, which exact CAM needs. "
            f"Methods: {others}."
        )
    name = _method_name(card, anatomy, request)
    if name == "rise":
        instead = request.method == "auto" and request.samples is None and bool(card.stages)
        return rise_method(USUAL_MASKS, eigen_method(card) if instead else None)
    if name == "cam" and anatomy.head is not None:
        return exact_method(anatomy.head, card)
    return eigen_method(card, request.stage)


def _method_name(card: Card, anatomy: Anatomy, request: ExplainRequest) -> CamMethod:
    if request.method != "auto":
        return request.method
    if request.stage is not None:
        return "eigencam"
    if card.task in {"segment", "detect"}:
        return "rise"  # the maps alone do not show which of several boxes or areas they lead to
    if anatomy.head is not None:
        return "cam"
    return "eigencam" if card.stages else "rise"


def _deepest(outputs: Outputs, card: Card) -> Stage:
    wide = [stage for stage in card.stages if min(outputs[stage.tensor].shape[1:]) >= FEWEST_PLACES]
    return (wide or list(card.stages))[-1]


def _result(explained: ExplainedHeat) -> CamResult:
    made, provenance, method = explained.made, _Provenance(), explained.method.name
    assert method != "occlusion", "occlusion is a view of its own"
    if made.stage is not None:
        provenance["stage"] = made.stage
    if made.samples is not None:
        provenance["samples"] = made.samples
        provenance["seed"] = explained.seed
    return {
        "view": "cam",
        "width": explained.geometry.width,
        "height": explained.geometry.height,
        "method": method,
        **provenance,
        **explained.evidence(),
    }


async def _run(explanation: Explanation) -> JobResult[CamResult | RenderedImage]:
    method = choose_method(explanation.card, explanation.anatomy, explanation.request)
    return await explain_heat(explanation, method, _result)


def _heat_from_copies(request: ExplainRequest) -> bool:
    return request.method == "rise" or request.samples is not None or request.steps is not None


CAM = View(
    name="cam",
    summary="which pixels a class, a box or an area depends on, by class activation maps",
    options=HEAT_OPTIONS | {"method", "stage", "seed"},
    forms=HEAT_FORMS,
    result=CamResult,
    run=_run,
    heat_from_copies=_heat_from_copies,
)
