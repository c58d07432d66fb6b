"""The command `tts-service`: settings and exit codes; `service` is the composition root."""

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import uvloop

from tts_service.config import ModelChoice, ServiceConfig, load_config
from tts_service.control_socket import default_control_socket
from tts_service.engine_place import has_own_process
from tts_service.errors import StartupError
from tts_service.event_log import configure_logging
from tts_service.process_settings import SWITCH_SECONDS, settle_libraries
from tts_service.settings_listing import EffectiveSetting, assigned_settings, effective_settings, merged, settings_help
from tts_service.version import VERSION

STARTUP_FAILED = 1
BAD_SETTINGS = 2

app = typer.Typer(
    add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]}
)


@app.command(
    epilog="Examples:\n\n  tts-service\n\n  tts-service --model english --weights synthetic:tiny\n\n"
    "  tts-service --speech-address 127.0.0.1:50100 --log-format json\n\n"
    "  tts-service --set residency.budget_bytes=2000000000 --set residency.rest.t3=host\n\n"
    "  GREENROOM_SERVICE_LIMITS__SESSIONS=8 tts-service --config service.toml\n\n"
    "Exit status: 0 after a drain, 1 if it cannot start, 2 for bad settings."
)
def serve(
    config: Annotated[Path | None, typer.Option(help="TOML file instead of the default one.")] = None,
    name: Annotated[str | None, typer.Option(help="The service's name.")] = None,
    speech_address: Annotated[str | None, typer.Option(help="HOST:PORT for speech; loopback by default.")] = None,
    control_socket: Annotated[Path | None, typer.Option(help="Unix socket for control.")] = None,
    cache_dir: Annotated[Path | None, typer.Option(help="Folder for what can be made again.")] = None,
    model: Annotated[ModelChoice | None, typer.Option(help="What speaks.")] = None,
    weights: Annotated[
        str | None, typer.Option(help="hub, a folder in upstream's layout, synthetic or synthetic:tiny.")
    ] = None,
    download: Annotated[
        bool | None, typer.Option("--download/--no-download", help="Ask the hub for weights that its cache lacks.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    trace_file: Annotated[
        Path | None, typer.Option("--trace", help="Write where time went to this file, for trace viewers.")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Steps that compute at once.")] = None,
    residency: Annotated[
        bool | None, typer.Option("--residency/--no-residency", help="Let modules move, or keep all at home.")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="console or json.")] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    log_text: Annotated[bool | None, typer.Option(help="Let spoken text into the log.")] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting by its name, as residency.budget_bytes=0."),
    ] = None,
    show_settings: Annotated[
        bool, typer.Option("--show-settings", help="List every setting with its default and variable, and exit.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version, and exit.")] = False,
) -> None:
    """Serve text-to-speech over gRPC, with modules that leave memory and come back."""
    if version or show_settings:
        typer.echo(VERSION if version else settings_help())
        return
    named = {
        "name": name,
        "speech_address": speech_address,
        "control_socket": control_socket,
        "cache_dir": cache_dir,
        "model": model,
        "weights": weights,
        "download": download,
        "device": device,
        "trace_file": trace_file,
        "workers": workers,
        "residency": None if residency is None else {"enabled": residency},
        "log_format": log_format,
        "log_level": log_level,
        "log_text": log_text,
    }
    _serve(config, {key: value for key, value in named.items() if value is not None}, assignments or [])


def _serve(path: Path | None, named: dict[str, Any], assignments: list[str]) -> None:
    """Serve with the settings of a file, of the environment and of flags; those with a name of their own count last."""
    try:
        flags = merged(assigned_settings(assignments), named)
        config = load_config(path, flags)
        settings = effective_settings(config, path, flags, stands_for=_stand_ins(config))
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(BAD_SETTINGS) from None
    try:
        configure_logging(config)
        sys.setswitchinterval(SWITCH_SECONDS)
        if has_own_process(config):
            _run_front(config, settings)
        else:
            _run_all(config, settings)
    except StartupError as error:
        typer.echo(f"tts-service: {error}", err=True)
        raise typer.Exit(STARTUP_FAILED) from None


def _run_front(config: ServiceConfig, settings: tuple[EffectiveSetting, ...]) -> None:
    """Run a front end that imports nothing of the engine's, with the engine beside it."""
    from tts_service.front import run_front  # noqa: PLC0415  # Either this or the engine, which takes seconds.

    uvloop.run(run_front(config, settings))


def _run_all(config: ServiceConfig, settings: tuple[EffectiveSetting, ...]) -> None:
    """Run everything in this process."""
    from tts_service.machine import settle_computing  # noqa: PLC0415  # As above.
    from tts_service.service import run_service  # noqa: PLC0415

    settle_computing()
    uvloop.run(run_service(config, settings))


def _stand_ins(config: ServiceConfig) -> dict[str, object]:
    """Return what counts in place of settings that are not set."""
    return {
        "control_socket": config.control_socket or default_control_socket(config.name),
        "cache_dir": config.effective_cache_dir,
        "voice_dir": config.effective_voice_dir,
    }


def main() -> None:
    """Run the command."""
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    settle_libraries(os.environ)
    app()


if __name__ == "__main__":
    main()
