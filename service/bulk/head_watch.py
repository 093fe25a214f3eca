"""Whether the head of a cluster still answers.

A minute after it went, Ray ends the process that is connected to it, with status 1 and no word of the results.
"""

import asyncio
import time
from collections.abc import Callable

from service.errors import ConfigurationError
from service.runtime.daemon_call import daemon_call

LOOK_SECONDS = 5.0
"""Between two looks: a machine that is off says nothing that could be waited for."""
GONE_SECONDS = 30.0
"""After so long a head is gone; one that is only restarted comes back before."""


async def head_is_gone(
    look: Callable[[], None],
    *,
    look_seconds: float = LOOK_SECONDS,
    gone_seconds: float = GONE_SECONDS,
    clock: Callable[[], float] = time.monotonic,
    on_silent: Callable[[], None] = lambda: None,
) -> ConfigurationError:
    """Return why a head does not answer any more, once it has not for `gone_seconds`.

    Args:
        look: raises ConfigurationError where it does not answer now; blocking.
        look_seconds: between two looks.
        gone_seconds: since the first look in a row that failed.
        clock: seconds.
        on_silent: called at the first look in a row that failed.
    """
    since: float | None = None
    while True:
        await asyncio.sleep(look_seconds)
        began = clock()
        try:
            await daemon_call(look, "foveal-ray-head")
            since = None
        except ConfigurationError as error:
            if since is None:
                since = began
                on_silent()
            if clock() - since >= gone_seconds:
                return ConfigurationError(
                    f"The head of the cluster does not answer any more. {error} The rows of the images before are "
                    "whole; go on with --resume."
                )
