"""`GET /v1/models`: what is served, and each model's card."""

from collections.abc import Sequence

from fastapi import APIRouter, Response
from pydantic_core import to_json

from service.api.deps import ServicesDep
from service.api.json_in_steps import json_in_steps
from service.api.openapi import Components
from service.api.responses import JsonResponse
from service.api.schemas import ChainState, ModelState, ModelStates, RefusedModel, problems
from service.chains.chains import ServedChain
from service.runtime.model import Model
from service.runtime.registry import Registry


def models_router(components: Components) -> APIRouter:
    """Return the routes that list the models."""
    router = APIRouter(tags=["models"])
    router.add_api_route(
        "/v1/models",
        list_models,
        response_model=ModelStates,
        summary="All models with their cards",
        responses=problems(components, 401, 403, 421, 429),
    )
    router.add_api_route(
        "/v1/models/{name}",
        show_model,
        response_model=ModelStates,
        summary="All versions of one model",
        responses=problems(components, 401, 403, 404, 421, 422, 429),
    )
    return router


async def list_models(services: ServicesDep) -> Response:
    registry = services.engine.registry
    return await _answer(
        registry.models, registry, services.engine.chains.served(), _not_served(registry)
    )


async def show_model(name: str, services: ServicesDep) -> Response:
    registry = services.engine.registry
    chains = [one for one in services.engine.chains.served() if one.chain.name == name]
    models = [one for one in registry.models if one.name == name]
    if not chains and not models:
        registry.versions(name)  # says which there are
    not_served = [one for one in _not_served(registry) if one.name == name]
    return await _answer(models, registry, chains, not_served)


async def _answer(
    models: Sequence[Model],
    registry: Registry,
    chains: Sequence[ServedChain],
    not_served: Sequence[RefusedModel],
) -> Response:
    """Return `ModelStates`, encoded in steps: two hundred cards take the event loop 20 ms."""
    states = await json_in_steps(_state(model, registry) for model in models)
    rest = to_json({"chains": [_chain_state(one) for one in chains], "not_served": not_served})
    return JsonResponse(b'{"models":' + states + b"," + rest[1:])


def _chain_state(served: ServedChain) -> ChainState:
    chain = served.chain
    return ChainState(
        name=chain.name,
        title=chain.title,
        description=chain.description,
        state="failed" if served.reason else "ready",
        reason=served.reason,
        default=served.default,
        steps=chain.steps,
    )


def _state(model: Model, registry: Registry) -> ModelState:
    routes = registry.routes_of(model.name)
    default = registry.default_of(model.card.task)
    shares = [
        share
        for target, share in routes.weights.items()
        if routes.version_of(target) == model.version
    ]
    shadow = None if routes.shadow is None else routes.version_of(routes.shadow)
    return ModelState(
        name=model.name,
        version=model.version,
        state=model.state,
        reason=model.reason,
        device=registry.device_of(model),
        precision=model.precision,
        largest_batch=model.queue.largest if model.queue else None,
        choice=model.choice,
        default=default is not None and default.name == model.name,
        memory_bytes=model.memory_bytes,
        aliases=[one for one, version in routes.aliases.items() if version == model.version],
        share=sum(shares) if routes.weights else None,
        shadow=shadow == model.version,
        card=model.card,
    )


def _not_served(registry: Registry) -> list[RefusedModel]:
    return [
        RefusedModel(name=one.name, version=one.version, reason=one.reason)
        for one in registry.not_served
    ]
