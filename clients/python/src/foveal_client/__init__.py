"""A typed client of Foveal: `Client`, `AsyncClient`, `Answer`, `FovealError`; what answers hold is in `types`."""

from foveal_client.asynchronous import AsyncClient
from foveal_client.calls import Answer
from foveal_client.client import Client
from foveal_client.errors import FovealError

__all__ = ["Answer", "AsyncClient", "Client", "FovealError"]
