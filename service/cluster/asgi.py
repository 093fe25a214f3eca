"""Plain ASGI around the service in a replica: it takes requests once its models are loaded, and says when it ends."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.cluster.ingress_replica import IngressReplica


class WhenLoaded:
    """The service in a replica of the ingress.

    Args:
        app: the service.
        replica: it; it takes part in the cluster for as long as the app lives.
    """

    def __init__(self, app: ASGIApp, replica: IngressReplica) -> None:
        self._app = app
        self._replica = replica

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return

        async def send_in_time(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._replica.engine.loaded.wait()
                await self._replica.require_joined()
            elif message["type"] == "lifespan.shutdown.complete":
                await self._replica.leave()
            await send(message)

        async with self._replica.taking_part():
            await self._app(scope, receive, send_in_time)
