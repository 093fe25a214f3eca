"""`python -m benchmarks.cluster.program PORT CPUS NAME=VALUE…`: Ray on this machine alone, and `serve run` in it."""

import signal
import sys

from service.cluster.connection import connected, import_ray

OBJECT_STORE_BYTES = 200_000_000


def main(port: str, cpus: str, *arguments: str) -> None:
    """Serve until SIGINT. The environment names the models, as for `serve run`."""
    # A shell's background process ignores it, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with connected(cpus=int(cpus), object_store_bytes=OBJECT_STORE_BYTES, namespace="serve"):
        options = {"host": "127.0.0.1", "port": int(port)}
        import_ray("ray.serve").start(http_options=options)
        cli = import_ray("ray.serve.scripts").cli
        cli.main(["run", "service.cluster:app", *arguments], standalone_mode=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
