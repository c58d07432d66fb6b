"""`memctl`, and `python -m memctl`."""

from memctl.app import build_app


def main() -> None:
    """Run the command line; the process's exit code is the answer's."""
    build_app()(prog_name="memctl")


if __name__ == "__main__":
    main()
