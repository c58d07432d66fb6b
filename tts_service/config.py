"""What an operator can set, with its bounds: a TOML file, under `GREENROOM_SERVICE_*` variables, under flags.

The file is `greenroom/service.toml` in the XDG configuration folder unless `--config` names another. Nested settings
are tables in the file and double underscores in variables (`GREENROOM_SERVICE_LIMITS__SESSIONS=8`). Unknown keys are
refused everywhere, because a misspelt limit is no limit.
"""

import os
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tts_service.engine_settings import EngineSettings
from tts_service.errors import StartupError
from tts_service.types import Precision

ENV_PREFIX = "GREENROOM_SERVICE_"
Seconds = Annotated[float, Field(gt=0, le=86_400)]


class ModelChoice(StrEnum):
    """What is to speak: one of Chatterbox's models, the built-in voice, or what suits the machine."""

    AUTO = "auto"
    ENGLISH = "english"
    MULTILINGUAL = "multilingual"
    TURBO = "turbo"
    BUILTIN = "builtin"


class Limits(BaseModel):
    """Bounds on what clients may ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sessions: int = Field(64, ge=1, le=10_000, description="Speech sessions at once.")
    utterance_text_bytes: int = Field(65_536, ge=1, le=1_048_576, description="Text of one utterance.")
    waiting_utterances: int = Field(16, ge=1, le=1_000, description="Utterances waiting in one session.")
    waiting_flushes: int = Field(64, ge=1, le=10_000, description="Flushes waiting in one session.")
    idle_timeout_seconds: Seconds = Field(300.0, description="A session in which nothing happens for so long ends.")
    max_audio_ahead_seconds: float = Field(4.0, ge=0.5, le=60, description="Audio ahead of playback, by default.")
    max_buffer_delay_seconds: float = Field(
        3.0, ge=0, le=60, description="Wait for the end of a sentence, by default; 0 for ever."
    )
    detect_seconds: Seconds = Field(600.0, description="Audio that DetectWatermark reads.")
    detections: int = Field(4, ge=1, le=1_000, description="Detections at once, waiting ones included.")
    voice_uploads: int = Field(4, ge=1, le=1_000, description="Voices being made at once, waiting ones included.")
    voice_bytes: int = Field(33_554_432, ge=1_024, le=1_073_741_824, description="Reference audio of one voice.")
    detect_bytes: int = Field(33_554_432, ge=1_024, le=1_073_741_824, description="The same, in bytes.")


class RestTier(StrEnum):
    """Where a module rests while nobody needs it; `auto` leaves that to the service."""

    AUTO = "auto"
    DEVICE = "device"
    HOST = "host"
    DISK = "disk"


class TogetherChoice(StrEnum):
    """When the sound of several sessions is prepared to be made at once."""

    AT_START = "at_start"
    WHEN_NEEDED = "when_needed"
    OFF = "off"


class Residency(BaseModel):
    """Where modules may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="Let modules move; if not, all stay at home and none is governed.")
    budget_bytes: int | None = Field(None, ge=0, description="Bytes that modules may hold at home; none for no bound.")
    pinned: tuple[str, ...] = Field((), description="Modules that never leave.")
    rest: dict[str, RestTier] = Field(
        {}, description="Where modules rest while nobody needs them: auto, device, host or disk, by name."
    )
    linger_seconds: Seconds = Field(
        60.0, description="A module that rests elsewhere leaves so long after its last use."
    )
    minimum_stay_seconds: float = Field(
        5.0, ge=0, le=3_600, description="A module that came home on demand stays at least so long."
    )
    restore_timeout_seconds: Seconds = Field(30.0, description="How long a step waits for its modules.")
    static_low_bytes: int = Field(
        0, ge=0, description="Free memory below which idle modules leave while no daemon governs; 0 for never."
    )
    static_critical_bytes: int = Field(
        0, ge=0, description="The same, for modules that open utterances will need again; 0 for never."
    )
    prefetch: bool = Field(default=True, description="Bring modules home before they are needed.")
    asynchronous_transfer: bool = Field(
        default=False,
        description="Count a module as home when its copy begins; reports then tell restore times that are too short.",
    )
    arenas: bool = Field(default=True, description="Keep each module at device addresses of its own.")
    captured: bool = Field(default=True, description="Compute with CUDA graphs where the device has them.")
    offload_paused: bool = Field(
        default=True, description="Let keys and values of utterances that nobody plays wait in host memory."
    )
    offload_bytes: int = Field(
        1_073_741_824, ge=0, description="Locked host memory that they may take; beyond it they stay on the device."
    )
    offload_after_seconds: Seconds = Field(
        2.0, description="How long a listener stands still before they leave; less while memory is short."
    )
    aggressive_cleanup: bool = Field(
        default=False, description="Give back what allocators keep for use after every eviction and utterance."
    )
    history: bool = Field(default=True, description="Keep samples of memory for GetMemoryReport.")

    @model_validator(mode="after")
    def _marks_rise(self) -> Self:
        if self.static_low_bytes and self.static_critical_bytes > self.static_low_bytes:
            raise ValueError("static_critical_bytes must not be above static_low_bytes")
        return self


class Admission(BaseModel):
    """Who is let in to speak, within `limits.sessions`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by_cost: bool = Field(
        default=True, description="Let in only what can stay in real time by measured costs; if not, by number alone."
    )
    full: float = Field(0.88, gt=0, lt=1, description="Share of what is short that sessions may take.")
    listening_share: float = Field(
        0.25, ge=0, le=1, description="What a session counts for at least, which may speak at any moment."
    )
    beginning: int = Field(6, ge=1, le=1_000, description="Sessions that may begin to speak at once.")
    queue: int = Field(16, ge=0, le=1_000, description="Sessions that may wait to be let in; 0 for none.")
    queue_seconds: float = Field(5.0, ge=0, le=60, description="How long one waits at most.")
    client_sessions: int | None = Field(
        None, ge=1, le=10_000, description="Sessions of one client at once; none for as many as there may be."
    )
    client_queue: int = Field(8, ge=0, le=1_000, description="Sessions of one client that may wait.")
    client_key: str = Field(
        "x-greenroom-client",
        pattern=r"^[a-z0-9._-]{0,64}$",
        description="Metadata that names for whom sessions are counted; empty, or not sent: the peer's address.",
    )
    bulk_sessions: int = Field(8, ge=0, le=10_000, description="Bulk sessions at once, which have what is left.")
    most_retry_seconds: float = Field(60.0, ge=1, le=3_600, description="The latest time to come back that is told.")


class Precisions(BaseModel):
    """In which type the modules compute that may do so in another than they were trained in."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    t3: Literal["auto"] | Precision = Field(
        "auto", description="T3: fp32, bf16, fp16, or auto (bf16 on a GPU, fp32 on a CPU)."
    )
    s3gen_flow: Literal["auto"] | Precision = Field(
        "auto", description="s3gen.flow: fp32, bf16, fp16, or auto (fp16 on a GPU, fp32 on a CPU)."
    )


class MetricsSettings(BaseModel):
    """Whether and where Prometheus may scrape."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="Answer scrapes at /metrics.")
    address: str = Field(
        "127.0.0.1:9751",
        pattern=r"^([^:\s]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$",
        description="Where scrapes are answered, HOST:PORT; loopback, unless it is said; port 0 for a free one.",
    )


class ServiceConfig(BaseSettings):
    """The service's settings."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    name: str = Field("default", pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="The service's name.")
    speech_address: str = Field("127.0.0.1:50051", min_length=3, description="Where speech is served, HOST:PORT.")
    control_socket: Path | None = Field(None, description="Where control is served; a path of a Unix socket.")
    cache_dir: Path | None = Field(None, description="What can be made again.")
    voice_dir: Path | None = Field(None, description="Where voices are kept that clients make.")
    model: ModelChoice = Field(ModelChoice.AUTO, description="auto, english, multilingual, turbo or builtin.")
    weights: str = Field("hub", min_length=1, description="hub, a folder, synthetic or synthetic:tiny.")
    download: bool = Field(default=False, description="Let the hub be asked for weights that its cache lacks.")
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$", description="auto, cpu, cuda or cuda:N.")
    together: TogetherChoice = Field(
        TogetherChoice.WHEN_NEEDED,
        description="Graphs for several sessions' sound at once: at_start, when_needed (when several speak) or off.",
    )
    workers: int = Field(2, ge=1, le=64, description="Steps that compute at once.")
    drain_grace_seconds: Seconds = Field(10.0, description="After SIGTERM, to finish utterances.")
    log_format: Literal["console", "json"] = Field("console", description="How events are logged: console or json.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged: debug, info, warning or error."
    )
    log_text: bool = Field(default=False, description="Let spoken text into the log.")
    trace_file: Path | None = Field(
        None, description="Where the newest spans of work are written, at the end and on SIGUSR1, for trace viewers."
    )
    limits: Limits = Field(Limits(), description="Bounds on what clients may ask.")
    admission: Admission = Field(Admission(), description="Who is let in to speak.")
    residency: Residency = Field(Residency(), description="Where modules may be.")
    precision: Precisions = Field(Precisions(), description="In which type modules compute.")
    engine: EngineSettings = Field(EngineSettings(), description="Where the engine computes.")
    metrics: MetricsSettings = Field(MetricsSettings(), description="Whether and where Prometheus may scrape.")

    @property
    def effective_cache_dir(self) -> Path:
        """Return the folder for what can be made again."""
        return self.cache_dir or xdg_dir("XDG_CACHE_HOME", ".cache")

    @property
    def effective_voice_dir(self) -> Path:
        """Return the folder of voices: state, which nothing can make again."""
        return self.voice_dir or xdg_dir("XDG_STATE_HOME", ".local/state") / "voices"


def xdg_dir(variable: str, default: str) -> Path:
    """Return Greenroom's folder below an XDG folder."""
    base = os.environ.get(variable, "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / default) / "greenroom"


def config_file(path: Path | None) -> Path:
    """Return the file that settings are read from: the one that is named, or the default one, if that is there."""
    return path or xdg_dir("XDG_CONFIG_HOME", ".config") / "service.toml"


def load_config(path: Path | None, flags: Mapping[str, Any]) -> ServiceConfig:
    """Merge file, environment and flags; raise StartupError that names the key and the way out."""
    toml = config_file(path)
    if path is not None and not path.is_file():
        raise StartupError(f"{path}: there is no such configuration file")
    _refuse_unknown_variables()

    class FromSources(ServiceConfig):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            del dotenv_settings, file_secret_settings
            return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=toml)

    try:
        merged = FromSources(**flags)
    except ValidationError as error:
        raise StartupError(_explained(error, toml)) from None
    except (OSError, ValueError) as error:
        raise StartupError(f"bad configuration ({_sources(toml)}): {error}") from None
    return ServiceConfig.model_construct(**{name: getattr(merged, name) for name in ServiceConfig.model_fields})


def _refuse_unknown_variables() -> None:
    known = EnvSettingsSource(ServiceConfig).env_vars
    names = {name.upper() for name in ServiceConfig.model_fields}
    for variable in known:
        upper = variable.upper()
        if upper.startswith(ENV_PREFIX) and upper.removeprefix(ENV_PREFIX).split("__")[0] not in names:
            raise StartupError(f"{upper}: no such setting; see tts-service --show-settings")


def _explained(error: ValidationError, toml: Path) -> str:
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
    return f"bad configuration ({_sources(toml)}):\n  " + "\n  ".join(lines)


def _sources(toml: Path) -> str:
    return f"flags, {ENV_PREFIX}* variables, {toml}"
