"""A typed client of Foveal: `Client`, `AsyncClient`, `Answer`, `ChainedAnswer`, `FovealError`.

What answers hold is in `types`; what explanations hold, in `explanations` and `figures`.
"""

from foveal_client.asynchronous import AsyncClient
from foveal_client.calls import Answer, ChainedAnswer
from foveal_client.client import Client
from foveal_client.errors import FovealError

__all__ = ["Answer", "AsyncClient", "ChainedAnswer", "Client", "FovealError"]
