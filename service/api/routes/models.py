"""`GET /v1/models`: what is served, and each model's card."""

from fastapi import APIRouter

from service.api.deps import ServicesDep
from service.api.openapi import Components
from service.api.schemas import ModelState, ModelStates, problems
from service.runtime.model import Model
from service.runtime.registry import Registry


def models_router(components: Components) -> APIRouter:
    """Return the routes that list the models."""
    router = APIRouter(tags=["models"])
    router.add_api_route(
        "/v1/models",
        list_models,
        summary="All models with their cards",
        responses=problems(components, 401, 403, 421, 429),
    )
    router.add_api_route(
        "/v1/models/{name}",
        show_model,
        summary="All versions of one model",
        responses=problems(components, 401, 403, 404, 421, 422, 429),
    )
    return router


async def list_models(services: ServicesDep) -> ModelStates:
    registry = services.engine.registry
    return ModelStates(models=[_state(model, registry) for model in registry.models])


async def show_model(name: str, services: ServicesDep) -> ModelStates:
    registry = services.engine.registry
    return ModelStates(models=[_state(model, registry) for model in registry.versions(name)])


def _state(model: Model, registry: Registry) -> ModelState:
    return ModelState(
        name=model.name,
        version=model.version,
        state=model.state,
        reason=model.reason,
        device=registry.device.name,
        largest_batch=model.queue.largest if model.queue else None,
        default=getattr(registry.default_of(model.card.task), "name", None) == model.name,
        card=model.card,
    )
