"""Policies that ship: every one is valid, each differs, and an operator's numbers go above them."""

from pathlib import Path

import pytest

from memory_daemon.config import ConfigError, PolicyNumbers, initial_policy
from memory_daemon.marks import GPU_POLICY, HOST_POLICY, Mark, violations
from memory_daemon.profile_files import overlaid, policy_from, profile_names, profile_numbers


def test_profiles_of_the_issue_ship() -> None:
    """Four policies can be chosen by name."""
    assert ("balanced", "latency-first", "low-memory", "neighbour-first") == profile_names()


@pytest.mark.parametrize("name", profile_names())
def test_profile_is_valid_on_every_device(name: str) -> None:
    """A profile's marks are in order on a small card, a large one and host memory."""
    totals_bytes = (8 * 10**9, 80 * 10**9)

    assert () == violations(policy_from(name, GPU_POLICY), totals_bytes)
    assert () == violations(policy_from(name, HOST_POLICY), totals_bytes)


def test_balanced_profile_is_the_default_policy() -> None:
    """Choosing the profile that says the defaults changes nothing."""
    assert initial_policy(PolicyNumbers(), GPU_POLICY) == policy_from("balanced", GPU_POLICY)


def test_numbers_that_are_set_go_above_the_profile() -> None:
    """An operator who names a number gets that number, and the profile's others."""
    numbers = overlaid(profile_numbers("neighbour-first"), PolicyNumbers.model_validate({"grace_seconds": 7.0}))
    policy = initial_policy(numbers, GPU_POLICY)

    assert (7.0, Mark(percent=10.0)) == (policy.grace_seconds, policy.critical)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("[policy]\nlow = 3\nhigh = 2\n", "contradict", id="marks out of order"),
        pytest.param("[policy]\nspeed = 3\n", "speed", id="an unknown number"),
        pytest.param("low = 3\n", r"stand in its table \[policy\]", id="numbers outside of the table"),
        pytest.param("[policies]\nlow = 3\n", "there is no policies", id="a misspelt table"),
        pytest.param("[policy", "no TOML", id="no TOML"),
    ],
)
def test_policy_file_that_is_wrong_says_so(tmp_path: Path, text: str, words: str) -> None:
    """A policy file is checked as the configuration is."""
    path = tmp_path / "mine.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=words):
        policy_from(str(path), GPU_POLICY)


def test_policy_that_is_neither_file_nor_profile_names_the_profiles(tmp_path: Path) -> None:
    """A misspelt profile is answered with those there are."""
    with pytest.raises(ConfigError, match="latency-first"):
        policy_from(str(tmp_path / "bold"), GPU_POLICY)
