"""Policies as files: those that ship with the daemon, chosen by name, and an operator's own.

A file has a table `[policy]`, and may name a `profile` below it, as the configuration has; a number that it does not
name keeps its default.
"""

import tomllib
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from memory_daemon.config import ConfigError, DaemonConfig, PolicyNumbers, initial_policy
from memory_daemon.marks import Policy

SUFFIX = ".toml"
FOLDER = "profiles"
TABLE, PROFILE = "policy", "profile"


def profile_names() -> tuple[str, ...]:
    """Return the names of the policies that ship."""
    files = resources.files("memory_daemon").joinpath(FOLDER).iterdir()
    return tuple(sorted(file.name.removesuffix(SUFFIX) for file in files if file.name.endswith(SUFFIX)))


def profile_numbers(name: str) -> PolicyNumbers:
    """Return the numbers of a policy that ships; raises ConfigError that names those there are."""
    if name not in profile_names():
        raise ConfigError(f"profile: there is no {name!r}; there are {', '.join(profile_names())}")
    text = resources.files("memory_daemon").joinpath(FOLDER, f"{name}{SUFFIX}").read_text(encoding="utf-8")
    return _numbers(text, name)


def policy_from(name: str, defaults: Policy) -> Policy:
    """Return a policy by the name of one that ships, or from a file; raises ConfigError."""
    if name in profile_names():
        return initial_policy(profile_numbers(name), defaults)
    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{name} is neither a file that can be read nor one of {', '.join(profile_names())}: {error}"
        ) from error
    return initial_policy(_numbers(text, name), defaults)


def overlaid(base: PolicyNumbers, numbers: PolicyNumbers) -> PolicyNumbers:
    """Return a profile's numbers with those above them that were set."""
    told = {name: getattr(numbers, name) for name in numbers.model_fields_set}
    return base.model_copy(update=told)


def _numbers(text: str, name: str) -> PolicyNumbers:
    try:
        told = tomllib.loads(text)
        numbers = PolicyNumbers.model_validate(told.get(TABLE, {}))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name} is no TOML: {error}") from error
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise ConfigError(f"{name}: {problems}") from error
    unknown = sorted(told.keys() - DaemonConfig.model_fields.keys())
    if unknown:
        raise ConfigError(f"{name}: there is no {', '.join(unknown)}; a policy's numbers stand in its table [{TABLE}]")
    return overlaid(profile_numbers(str(told[PROFILE])), numbers) if told.get(PROFILE) else numbers
