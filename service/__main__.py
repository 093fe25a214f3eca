"""`foveal` and `python -m service`."""

from service.interruptible import run_command


def main() -> None:
    """Run the command line."""
    run_command("service.cli")


if __name__ == "__main__":
    main()
