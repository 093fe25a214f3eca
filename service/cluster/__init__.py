"""`serve run service.cluster:app`: the service on a Ray cluster. Ray reads `app` here, so this is not empty."""

from typing import Any

from service.cluster.arguments import ClusterArguments
from service.cluster.command_line import require_usable
from service.cluster.connection import import_ray, prepare_environment

prepare_environment()


def app(arguments: ClusterArguments) -> Any:  # noqa: ANN401  # Ray's Application; Ray may not be there
    """Return the service as an application of Ray Serve; its settings are those of this process.

    Raises:
        ConfigurationError: Ray is not installed, or the settings can not be served so.
    """
    require_usable(connected=import_ray().is_initialized())
    return import_ray("service.cluster.application").build(arguments)
