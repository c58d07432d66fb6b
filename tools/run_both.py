"""`make run`: both processes on the user's own addresses and state, until Ctrl-C, with what to type next."""

import argparse
import os
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from memory_daemon.config import load_config as load_daemon_config
from memory_daemon.errors import StartupError as DaemonStartupError
from tools.both import LOADING_SECONDS, engine_env
from tools.process import Interrupted, NotReadyError, Process, end_on_signals, wait_governed, wait_serving
from tts_service.config import ServiceConfig, load_config, xdg_dir
from tts_service.control_socket import default_control_socket
from tts_service.errors import StartupError

SDK_ADDRESS = "127.0.0.1:50051"
"""Where `tts-say` looks unless it is told."""

NEXT = """
[bold]Both are running.[/bold] In another terminal:

  .venv/bin/tts-say "Good evening, and welcome." --output hello.wav{server}
  .venv/bin/memctl top
  .venv/bin/memctl set low=15% high=25%
  .venv/bin/memctl evict watermark.detector --for 1m

Ctrl-C stops both."""

console = Console(stderr=True, soft_wrap=True, highlight=False)


def main() -> int:
    """Run both until told to end, or until one of them ends."""
    options = parse_options(sys.argv[1:])
    os.environ.update(engine_env(options.model, options.weights))
    end_on_signals()
    try:
        return _main()
    except Interrupted:
        return 0


def parse_options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what speaks; what is not given is the service's own setting."""
    parser = argparse.ArgumentParser(prog="make run", description="Run the service and the daemon until Ctrl-C.")
    parser.add_argument("--model", help="auto, english, multilingual, turbo or builtin")
    parser.add_argument("--weights", help="hub, a folder, synthetic or synthetic:tiny")
    return parser.parse_args(arguments)


def _main() -> int:
    try:
        config = load_config(None, {})
        load_daemon_config(None, {})
        _refuse_taken(config.speech_address)
        _run(config, _both(xdg_dir("XDG_STATE_HOME", ".local/state") / "logs"))
    except (StartupError, DaemonStartupError, NotReadyError, OSError) as error:
        console.print(f"make run: {error}", style="red", markup=False)
    return 1


def _refuse_taken(address: str) -> None:
    """Raise StartupError if somebody listens there, who would be taken for the service that is about to start."""
    if _listens(address):
        raise StartupError(
            f"something listens on {address} already; end it, or choose another address with "
            "GREENROOM_SERVICE_SPEECH_ADDRESS=HOST:PORT"
        )


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        return False
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=1.0):
            return True
    except OSError:
        return False


def _both(logs: Path) -> tuple[Process, Process]:
    """Return the service and the daemon, which write into new logs."""
    logs.mkdir(parents=True, exist_ok=True)
    service, daemon = (
        Process(module.replace("_", "-"), [module], env=os.environ, log_path=logs / f"{module}.log")
        for module in ("tts_service", "memory_daemon")
    )
    for process in (service, daemon):
        process.log_path.write_bytes(b"")
    return service, daemon


def _run(config: ServiceConfig, both: tuple[Process, Process]) -> None:
    """Start both, say what to type, and watch them. Raises NotReadyError when one ends; stops both in any case."""
    service, daemon = both
    with ExitStack() as stack:
        for process in both:
            stack.callback(process.stop)
            process.start()
        with console.status("starting tts-service and memory-daemon"):
            wait_serving(service, config.speech_address, within_seconds=LOADING_SECONDS)
            wait_governed(daemon, config.control_socket or default_control_socket(config.name))
        _check(both)
        server = "" if config.speech_address == SDK_ADDRESS else f" --server {config.speech_address}"
        console.print(NEXT.format(server=server))
        console.print(f"Logs: {service.log_path} and {daemon.log_path}")
        while True:
            _check(both)
            time.sleep(0.2)


def _check(processes: Sequence[Process]) -> None:
    for process in processes:
        process.check()


if __name__ == "__main__":
    sys.exit(main())
