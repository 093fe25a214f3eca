"""`GET /v1/models`: what is served, and each model's card."""

from fastapi import APIRouter

from service.api.deps import ServicesDep
from service.api.schemas import ModelAnswer, ModelsAnswer, problems
from service.runtime.registry import Model, Registry

router = APIRouter(tags=["models"])


@router.get("/v1/models", summary="All models with their cards")
async def list_models(services: ServicesDep) -> ModelsAnswer:
    registry = services.registry
    return ModelsAnswer(models=[_answer(model, registry) for model in registry.models])


@router.get("/v1/models/{name}", summary="All versions of one model", responses=problems(404))
async def show_model(name: str, services: ServicesDep) -> ModelsAnswer:
    registry = services.registry
    return ModelsAnswer(models=[_answer(model, registry) for model in registry.versions(name)])


def _answer(model: Model, registry: Registry) -> ModelAnswer:
    return ModelAnswer(
        name=model.name,
        version=model.version,
        state=model.state,
        reason=model.reason,
        device=registry.device.name,
        largest_batch=model.queue.largest if model.queue else None,
        default=registry.default_of(model.card.task) == model.name,
        card=model.card,
    )
