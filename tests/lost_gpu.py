"""The service where every failure that tells of a lost GPU is one: `python -m tests.lost_gpu serve`."""

import logging
import os
import sys
from functools import partial

from service.logs import LOGGER, configure_logs
from service.processes.server import listen, url_of
from service.processes.supervisor import Supervisor
from service.processes.worker import make_service, work
from service.runtime.device import Device
from service.runtime.faults import tells_of_lost_device
from service.settings import read_settings

log = logging.getLogger(LOGGER)


def believe(_: Device, error: BaseException) -> bool:
    """Take the words for the truth, as a GPU would confirm them."""
    return tells_of_lost_device(error)


def main() -> int:
    settings = read_settings(os.environ, {})
    configure_logs(settings.log_level, settings.log_format, sys.stdout)
    listener = listen(settings.host, settings.port)

    def announce(_: object) -> None:
        log.info("Foveal at %s", url_of(listener))

    if settings.processes == 1:
        make_service(settings, announce, device_check=believe).run([listener])
        return 0
    main_function = partial(work, settings, device_check=believe)
    return Supervisor(main_function, listener, settings.processes, on_loaded=announce).run()


if __name__ == "__main__":
    sys.exit(main())
