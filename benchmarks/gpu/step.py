"""The process of one step: `python -m benchmarks.gpu.step ORDER DESCRIPTOR`; only `benchmarks.gpu.child` starts it."""

import ctypes
import importlib
import signal
import sys
import traceback

from benchmarks.gpu.order import Channel, Order

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> int:
    """Run the step that the order names, and send what it finds."""
    _end_with_parent()
    order, channel = Order.from_json(arguments[0]), Channel(int(arguments[1]))
    module, _, function = order.function.partition(":")
    try:
        getattr(importlib.import_module(module), function)(order, channel.report)
    except Exception as error:  # noqa: BLE001  # whatever a step does, the run goes on and says why
        traceback.print_exc()
        channel.end("failed", f"{type(error).__name__}: {error}")
        return 1
    channel.end("done")
    return 0


def _end_with_parent() -> None:
    """Let the kernel kill this process when the run's own is killed; prctl(2)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
