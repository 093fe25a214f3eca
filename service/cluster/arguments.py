"""What an operator says of the cluster: `serve run service.cluster:app NAME=VALUE`, or `args` in Serve's file."""

from collections.abc import Mapping
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import from_json


class ModelArguments(BaseModel):
    """Of the replicas of one model; what is not given is that of all models.

    Attributes:
        cpus, gpus: of one replica; fractions share a core or a GPU. None: by the model's size.
        memory_bytes: that a machine must have free for one replica. None: by the model's size.
        min_replicas, max_replicas: how many; 0 lets the model go while no request comes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float | None = Field(None, gt=0, le=1024)
    gpus: float | None = Field(None, ge=0, le=8)
    memory_bytes: int | None = Field(None, ge=0)
    min_replicas: int | None = Field(None, ge=0, le=1000)
    max_replicas: int | None = Field(None, ge=1, le=1000)


class ClusterArguments(BaseModel):
    """How the service is spread over a cluster.

    Attributes:
        cpus, gpus, memory_bytes: of one replica of a model; None: by the model's size.
        gpu_memory_bytes: of a GPU of the cluster; above 0 a replica of a model takes the part of a GPU that it needs.
        min_replicas, max_replicas: of each model.
        ingress_cpus: of one replica that receives requests and decodes images.
        min_ingress, max_ingress: how many of these.
        queue_per_replica: batches that run or wait for a replica of a model; more or fewer of them add or remove one.
        requests_per_ingress: requests in a replica of the ingress; more or fewer of them add or remove one.
        upscale_seconds, downscale_seconds: how long a queue is long, or short, before a replica is added or removed.
        models: by name, what is different for one model.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cpus: float | None = Field(None, gt=0, le=1024)
    gpus: float | None = Field(None, ge=0, le=8)
    memory_bytes: int | None = Field(None, ge=0)
    gpu_memory_bytes: int = Field(0, ge=0)
    min_replicas: int = Field(1, ge=0, le=1000)
    max_replicas: int = Field(4, ge=1, le=1000)
    ingress_cpus: float = Field(0.25, gt=0, le=1024)
    min_ingress: int = Field(1, ge=1, le=1000)
    max_ingress: int = Field(4, ge=1, le=1000)
    queue_per_replica: float = Field(2.0, ge=1, le=1000)
    requests_per_ingress: float = Field(16.0, ge=1, le=10_000)
    upscale_seconds: float = Field(5.0, ge=0, le=3600)
    downscale_seconds: float = Field(120.0, ge=0, le=86_400)
    models: Mapping[str, ModelArguments] = {}

    @field_validator("models", mode="before")
    @classmethod
    def _read(cls, given: object) -> object:
        """On a command line the models are JSON."""
        if isinstance(given, str):
            try:
                return from_json(given)
            except ValueError as error:
                raise ValueError(f"models: this is no JSON: {error}") from error
        return given

    @model_validator(mode="after")
    def _are_in_order(self) -> Self:
        for least, most, what in (
            (self.min_ingress, self.max_ingress, "ingress"),
            (*self.replicas_of(""), "replicas"),
            *((*self.replicas_of(name), f"models: {name}") for name in self.models),
        ):
            if least > most:
                raise ValueError(f"{what}: the least, {least}, is more than the most, {most}")
        return self

    def replicas_of(self, model: str) -> tuple[int, int]:
        """Return how many replicas a model has at least and at most."""
        own = self.models.get(model, ModelArguments())
        least = self.min_replicas if own.min_replicas is None else own.min_replicas
        most = self.max_replicas if own.max_replicas is None else own.max_replicas
        return least, most

    def batches_in_flight(self, model: str) -> int:
        """Return how many batches of a model one replica of the ingress lets run or wait elsewhere.

        A full queue in a single one of them asks for every replica that the model may have.
        """
        return max(2, round(self.replicas_of(model)[1] * self.queue_per_replica))
