"""`foveal-export` and `python -m exporter`."""

from service.interruptible import run_command


def main() -> None:
    """Run the command line."""
    run_command("exporter.cli")


if __name__ == "__main__":
    main()
