"""What a client may ask of an explanation, and how that is checked against the view and the model."""

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import ConfigDict, Field

from service.card import Card, Stage
from service.errors import InvalidParameterError
from service.explain.request import MOST_SAMPLES, ExplainRequest, Form, Method
from service.explain.view import View
from service.explain.views import VIEWS
from service.heads.targets import class_id_of
from service.tasks.task import TaskOptions

if TYPE_CHECKING:
    ViewName = str
else:
    ViewName = Literal[tuple(VIEWS)]
"""A name in `VIEWS`; checkers of types can not read it from there."""


BOX_TASKS = ("detect",)
"""The tasks whose results are boxes to choose from."""


class FiltersOptions(TaskOptions):
    """What a request may ask of a model's filters; an unknown option is refused."""

    format: Annotated[
        Literal["json", "sheet"] | None,
        Field(description="`sheet`: a captioned PNG; default: by `Accept`, else JSON"),
    ] = None
    thumbnails: Annotated[
        bool, Field(description="A PNG as a `data:` URL beside each filter in the JSON")
    ] = False


class ExplainOptions(TaskOptions):
    """What a request may ask of an explanation; an unknown option is refused, and one that the view does not use."""

    model_config = ConfigDict(populate_by_name=True)

    view: Annotated[
        ViewName,
        Field(
            description="; ".join(f"`{view.name}`: {view.summary}" for view in VIEWS.values()),
        ),
    ]
    format: Annotated[
        Form | None,
        Field(
            description="`sheet`: a captioned PNG; `overlay`: the heat over the image; `heat`: the heat alone; "
            "`npy`: the array of `view=input` or the map of `view=convolution`, as a file of NumPy. "
            "Default: by `Accept`, else JSON"
        ),
    ] = None
    stage: Annotated[
        str | None, Field(max_length=64, description="A stage's name as in the model's card")
    ] = None
    channel: Annotated[int | None, Field(ge=0, description="A channel of that stage")] = None
    channels: Annotated[
        int,
        Field(
            ge=1, le=64, description="How many of the strongest channels of each stage, or filters"
        ),
    ] = 16
    count: Annotated[
        int,
        Field(ge=1, le=25, description="How many peaks at most, or contributions of each sign"),
    ] = 9
    class_name: Annotated[
        str | None,
        Field(
            alias="class", max_length=200, description="A label or class id; default: the top one"
        ),
    ] = None
    box: Annotated[
        int,
        Field(ge=0, le=299, description="For task detect: which detection, 0 is the best"),
    ] = 0
    method: Annotated[
        Method,
        Field(
            description="`auto` takes the first of the others that the network allows and there is time for"
        ),
    ] = "auto"
    samples: Annotated[
        int | None,
        Field(
            ge=4,
            le=MOST_SAMPLES,
            description="Perturbed copies. Default: as many as there is time for, up to 400 for rise, 144 for "
            "occlusion, and 48–200 for cam",
        ),
    ] = None
    seed: Annotated[
        int, Field(ge=0, le=2**32 - 1, description="Of the random masks and shuffles")
    ] = 0
    score: Annotated[
        bool,
        Field(description="Insertion and deletion score too; without `steps`, where there is time"),
    ] = True
    steps: Annotated[
        int | None,
        Field(
            ge=4,
            le=64,
            description="Steps of these curves; default: 16, 8 or 4, as many as there is time for",
        ),
    ] = None
    thumbnails: Annotated[
        bool,
        Field(description="A PNG as a `data:` URL beside each filter, map or crop in the JSON"),
    ] = False
    filter: Annotated[
        int | None,
        Field(ge=0, description="A filter of the first convolution; default: the strongest"),
    ] = None
    row: Annotated[
        int | None, Field(ge=0, description="A cell of the filter's map; default: the highest")
    ] = None
    column: Annotated[int | None, Field(ge=0, description="The same")] = None
    tensor: Annotated[
        Literal["frame", "normalized"],
        Field(
            description="With `format=npy`: `frame`, what the file of the network reads, or `normalized`, what its "
            "first convolution reads"
        ),
    ] = "frame"
    arrays: Annotated[
        bool, Field(description="The tensors of the image and the filter's map in the JSON too")
    ] = False


def explain_request(options: ExplainOptions, card: Card, form: Form) -> ExplainRequest:
    """Return the request, checked against what the view uses and the model has.

    Args:
        options: what the client asks; a subclass may have further fields, which are not read.
        card: the model's.
        form: what to return; replaces `options.format`, which may be None.

    Raises:
        InvalidParameterError: an option does not fit; the message says what would.
    """
    view = VIEWS[options.view]
    _check_used(options, view)
    _check_method(options)
    _check_box(options, card)
    if view.needs_stages or options.method == "eigencam":
        _require_stages(card)
    if view.needs_classifier:
        _require_classifier(card, view)
    stage = _find_stage(card, options.stage)
    _check_channel(stage, options.channel)
    _check_form(form, view)
    if form in {"overlay", "heat"} and "channel" in view.options and options.channel is None:
        raise InvalidParameterError(f"format: {form} shows one map; name its stage and channel")
    wanted = options.class_name
    return ExplainRequest(
        view=view.name,
        form=form,
        stage=stage,
        channel=options.channel,
        channels=options.channels,
        count=options.count,
        class_id=None if wanted is None else class_id_of(card, wanted),
        box=options.box,
        method=options.method,
        samples=options.samples,
        seed=options.seed,
        score=options.score,
        steps=options.steps,
        thumbnails=options.thumbnails,
        filter=options.filter,
        row=options.row,
        column=options.column,
        tensor=options.tensor,
        arrays=options.arrays,
    )


def filters_request(options: FiltersOptions, form: Form) -> ExplainRequest:
    """Return the request for a model's filters.

    Args:
        options: what the client asks.
        form: what to return; replaces `options.format`, which may be None.

    Raises:
        InvalidParameterError: the view does not have this form.
    """
    _check_form(form, VIEWS["filters"])
    return ExplainRequest("filters", form, thumbnails=options.thumbnails)


def _check_used(options: ExplainOptions, view: View) -> None:
    known = set(ExplainOptions.model_fields) - {"view", "format"}
    for name in sorted(options.model_fields_set & known - view.options):
        used = ", ".join(_parameter(option) for option in sorted(view.options))
        raise InvalidParameterError(
            f"{_parameter(name)}: view={view.name} does not use it, but {used}"
        )


def _check_method(options: ExplainOptions) -> None:
    """Refuse what the named method of `view=cam` would pass over in silence."""
    unused = {
        "cam": {"stage", "samples", "seed"},
        "eigencam": {"samples", "seed"},
        "rise": {"stage"},
        "auto": {"samples", "seed"} if options.stage is not None else set[str](),
    }[options.method]
    for name in sorted(options.model_fields_set & unused):
        if getattr(options, name) is None:
            continue
        fitting = "eigencam" if name == "stage" else "rise"
        named = "EigenCAM of a stage" if options.method == "auto" else f"method={options.method}"
        raise InvalidParameterError(
            f"{name}: {named} does not use it; leave one of them out, or take method={fitting}"
        )


def _check_box(options: ExplainOptions, card: Card) -> None:
    if "box" in options.model_fields_set and card.task not in BOX_TASKS:
        raise InvalidParameterError(
            f"box: it names one of the detections of a model of task {' or '.join(BOX_TASKS)}, and {card.name} does "
            f"{card.task}. Leave it out; class names what to explain."
        )


def require_there(request: ExplainRequest, card: Card) -> None:
    """Refuse a request for stages that the model's card names and its graph does not have.

    Args:
        request: made for the model's card.
        card: the explainer's, with the stages that are in the graph.

    Raises:
        InvalidParameterError: the request needs one that is not.
    """
    needs_any = VIEWS[request.view].needs_stages or request.method == "eigencam"
    wanted = request.stage
    if (needs_any and not card.stages) or (wanted is not None and wanted not in card.stages):
        what = f"the stage {wanted.name}" if wanted is not None else "stages"
        raise InvalidParameterError(
            f"{'view' if wanted is None else 'stage'}: the card of {card.name} names {what}, but its graph does not "
            "have the inner maps. Export it again with foveal-export."
        )


def _parameter(field: str) -> str:
    """Return the name of an option as a client writes it."""
    return ExplainOptions.model_fields[field].alias or field


def _require_stages(card: Card) -> None:
    if not card.stages:
        without = ", ".join(
            view.name
            for view in VIEWS.values()
            if not view.needs_stages and "stage" not in view.options
        )
        raise InvalidParameterError(
            f"view: the card of {card.name} lists no `stages`, the inner maps to show. Export it again with "
            f"foveal-export, which finds them. Views without inner maps: {without}."
        )


def _require_classifier(card: Card, view: View) -> None:
    if card.task != "classify":
        raise InvalidParameterError(
            f"view: {view.name} explains a class of a classifier, and {card.name} does {card.task}; name a classifier"
        )


def _find_stage(card: Card, name: str | None) -> Stage | None:
    if name is None:
        return None
    _require_stages(card)
    for stage in card.stages:
        if stage.name == name:
            return stage
    names = ", ".join(stage.name for stage in card.stages)
    raise InvalidParameterError(f"stage: {card.name} has no stage {name!r}. Stages: {names}.")


def _check_channel(stage: Stage | None, channel: int | None) -> None:
    if channel is None:
        return
    if stage is None:
        raise InvalidParameterError("channel: name its stage too, as in stage=stage_1&channel=0")
    if channel >= stage.channels:
        raise InvalidParameterError(
            f"channel: {stage.name} has the channels 0 to {stage.channels - 1}, not {channel}"
        )


def _check_form(form: Form, view: View) -> None:
    if form not in view.forms:
        has = "no heat" if form in {"overlay", "heat"} else f"no {form}"
        others = " or ".join(sorted(view.forms))
        raise InvalidParameterError(f"format: view={view.name} has {has}; take {others}")
