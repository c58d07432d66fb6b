"""What an operator can set, with its bounds: a TOML file, under `GREENROOM_DAEMON_*` variables, under flags.

The file is `greenroom/daemon.toml` in the XDG configuration folder unless `--config` names another. The policy's
numbers are a table `[policy]` in the file and `GREENROOM_DAEMON_POLICY__LOW=2GiB` in the environment; they are where a
daemon begins that was never tuned while it ran. Unknown keys are refused: a misspelt mark protects nothing.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from memory_daemon.errors import StartupError, bad_config
from memory_daemon.marks import Mark, Policy, parse_mark, violations
from memory_daemon.setting_sources import merged, variables

ENV_PREFIX = "GREENROOM_DAEMON_"
MARKS = ("critical", "low", "high", "host_low", "host_high")


class ConfigError(StartupError):
    """A setting is wrong; the message names it and says what it may be."""


def _mark(value: object) -> object:
    """Read a mark from a file or a variable: text such as `2GiB` or `10%`, or a number of bytes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Mark(size_bytes=value)
    return parse_mark(value) if isinstance(value, str) else value


MarkSetting = Annotated[Mark | None, BeforeValidator(_mark)]
Span = Annotated[float, Field(ge=0, le=3_600)]
DaySpan = Annotated[float, Field(ge=0, le=86_400)]


class PolicyNumbers(BaseModel):
    """Where the policy begins; `policy.proto` says what each number may be."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    critical: MarkSetting = Field(
        default=None,
        description="Below this much free memory modules leave at once. 500MB on a GPU, 5% of host memory.",
    )
    low: MarkSetting = Field(
        default=None, description="Below this much for the grace they leave. 1.5GB on a GPU, 10% of host memory."
    )
    high: MarkSetting = Field(
        default=None, description="They leave until this much is free. 2.5GB on a GPU, 15% of host memory."
    )
    grace_seconds: Span = Field(default=1.0, description="How long memory must be below low.")
    cool_down_seconds: Span = Field(default=2.0, description="Rest after an action that was not critical.")
    minimum_residence_seconds: Span = Field(default=5.0, description="A module that came home stays so long.")
    minimum_absence_seconds: Span = Field(default=5.0, description="A module that left stays away so long.")
    minimum_period_seconds: Span = Field(default=0.1, description="Shortest time between two samples.")
    maximum_period_seconds: Span = Field(default=1.0, description="Longest time between two samples.")
    worst_fill_bytes_per_second: int = Field(default=6_000_000_000, gt=0, description="How fast memory may fill.")
    valid_for_seconds: Span = Field(default=10.0, description="Time to live of a directive.")
    renewal_seconds: Span = Field(default=3.0, description="Time between renewals, below half of that.")
    background_restore: bool = Field(default=True, description="Bring modules back when there is room.")
    dry_run: bool = Field(default=False, description="Decide and write the journal, but send no directive.")
    trim_cache: bool = Field(
        default=True, description="Ask services for what their allocators keep unused before modules leave."
    )
    trim_minimum_bytes: int = Field(default=67_108_864, ge=0, description="Less than this is not asked for.")
    relieve_host: bool = Field(
        default=True, description="Beside a GPU: while host memory is short, idle modules give up theirs for disk."
    )
    host_low: MarkSetting = Field(default=None, description="Below this much free host memory it is short. 10%.")
    host_high: MarkSetting = Field(default=None, description="At this much it is short no more. 15%.")
    host_some_percent: float = Field(
        default=20.0, gt=0, le=100, description="It is short too if some process waits for it so much of the time."
    )
    host_full_percent: float = Field(default=5.0, gt=0, le=100, description="The same, if all processes wait.")
    foresight: bool = Field(default=True, description="Bring modules home ahead of the time of day they are used at.")
    expected_again_seconds: DaySpan = Field(
        default=600.0, description="A module that was used within this time is expected to be used again."
    )
    foresight_lead_seconds: Span = Field(
        default=300.0, description="A module may come home so long before the half hour that it is expected in."
    )


class MetricsSettings(BaseModel):
    """Whether and where Prometheus may scrape."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(default=True, description="Answer scrapes at /metrics.")
    address: str = Field(
        default="127.0.0.1:9752",
        pattern=r"^([^:\s]+|\[[0-9a-fA-F:.]+\]):\d{1,5}$",
        description="Where scrapes are answered, HOST:PORT; loopback, unless it is said; port 0 for a free one.",
    )


class DaemonConfig(BaseModel):
    """The daemon's settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    services_dir: Path | None = Field(None, description="Folder of sockets; every service in it is governed.")
    sockets: tuple[Path, ...] = Field((), max_length=64, description="Sockets of services elsewhere.")
    policy_socket: Path | None = Field(None, description="Where operators dial; a path of a Unix socket.")
    state_dir: Path | None = Field(None, description="What must outlive a restart: name, policy, overrides, journal.")
    memory: Literal["auto", "host", "gpu"] = Field(
        "auto", description="What is watched: every GPU, host memory, or GPUs where there are any."
    )
    cgroup_root: Path | None = Field(
        None, description="A cgroup v2 folder: host memory is the tightest limit at it and above it."
    )
    takeover: bool = Field(default=False, description="Replace a daemon that governs a service now, once.")
    display_name: str = Field("memory-daemon", max_length=128, description="What services log as this daemon's name.")
    floors_bytes: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict, description="By service: what it keeps at home whatever happens, for one utterance."
    )
    journal_file_bytes: int = Field(8_388_608, ge=4_096, le=1 << 32, description="The journal begins a new file here.")
    journal_files: int = Field(5, ge=1, le=1_000, description="Old journal files that are kept.")
    watchers: int = Field(8, ge=1, le=64, description="Clients that may watch the status at once.")
    log_format: Literal["console", "json"] = Field("console", description="How events are logged: console or json.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least that is logged: debug, info, warning or error."
    )
    profile: str = Field(
        "",
        description="A policy that ships: balanced, low-memory, latency-first or neighbour-first; numbers go above it.",
    )
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="Whether and where Prometheus may scrape."
    )
    policy: PolicyNumbers = Field(default_factory=PolicyNumbers, description="Where the policy begins.")

    @property
    def effective_services_dir(self) -> Path:
        """Return the folder of services' sockets."""
        return self.services_dir or runtime_dir() / "services"

    @property
    def effective_policy_socket(self) -> Path:
        """Return the policy socket's path."""
        return self.policy_socket or runtime_dir() / "policy.sock"

    @property
    def policy_folder_mode(self) -> int:
        """Return the mode of a folder made for the policy socket; below the temporary folder it is ours alone."""
        return 0o750 if self.policy_socket or _xdg_runtime() else 0o700

    @property
    def effective_state_dir(self) -> Path:
        """Return the folder for state."""
        return self.state_dir or xdg_dir("XDG_STATE_HOME", ".local/state") / "daemon"


def xdg_dir(variable: str, default: str) -> Path:
    """Return Greenroom's folder below an XDG folder."""
    base = os.environ.get(variable, "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / default) / "greenroom"


def runtime_dir() -> Path:
    """Return Greenroom's folder for sockets; without XDG_RUNTIME_DIR, a private one under the temporary directory."""
    base = _xdg_runtime()
    return base / "greenroom" if base else Path(tempfile.gettempdir()) / f"greenroom-{os.getuid()}"


def _xdg_runtime() -> Path | None:
    base = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    return base if base.is_absolute() else None


def load_config(path: Path | None, flags: Mapping[str, Any]) -> DaemonConfig:
    """Merge file, environment and flags; raise ConfigError that names the key and the way out."""
    toml = path or xdg_dir("XDG_CONFIG_HOME", ".config") / "daemon.toml"
    if path is not None and not path.is_file():
        raise ConfigError(f"{path}: there is no such configuration file")
    _refuse_unknown_variables(os.environ)

    try:
        return DaemonConfig.model_validate(merged(toml, os.environ, flags, DaemonConfig, ENV_PREFIX))
    except ValidationError as error:
        raise ConfigError(f"{_explained(error)} (flags, {ENV_PREFIX}*, {toml})") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{toml}: {error}") from None


def initial_policy(numbers: PolicyNumbers, defaults: Policy) -> Policy:
    """Return the policy to begin with, marks that are not set being those of what is watched.

    Raises ConfigError if the numbers contradict each other.
    """
    values = {name: getattr(numbers, name) for name in PolicyNumbers.model_fields}
    marks = {name: values[name] or getattr(defaults, name) for name in MARKS}
    policy = Policy(**values | marks)
    wrong = violations(policy, ())
    if wrong:
        raise ConfigError(f"the policy's numbers contradict each other: {bad_config(wrong).message}")
    return policy


def _refuse_unknown_variables(environment: Mapping[str, str]) -> None:
    known = set(variables(DaemonConfig, ENV_PREFIX))
    for variable in environment:
        if variable.upper().startswith(ENV_PREFIX) and variable.upper() not in known:
            raise ConfigError(f"{variable}: no such setting; memory-daemon --show-settings lists them")


def _explained(error: ValidationError) -> str:
    """Say what is wrong, key by key, without the library's own words around it."""
    problems = error.errors(include_url=False, include_input=False)
    return "; ".join(
        f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in problems
    )
