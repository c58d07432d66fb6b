"""Random bytes and damaged messages on everything that both processes listen on: nobody falls, leaks or forgets."""

import shutil
import time
from collections.abc import Iterator

import pytest

from tests.fuzz.campaign import Campaign, begun
from tests.fuzz.fuzzed_pair import FuzzedPair, Method, fuzzed_pair

NO_MESSAGE = b"\x00"
EXAMPLES = 20
TRIES = 200
SEED = 1


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FuzzedPair]:
    """Run both processes, and have them meet a bit of everything first."""
    if shutil.which("gcc") is None and shutil.which("cc") is None:
        pytest.skip("the stand-in for NVML is written in C, and there is no compiler for it here")
    with fuzzed_pair(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def answer(pair: FuzzedPair, method: Method) -> str:
    """Return what bytes that are no message are answered with, once a place is free: rehearsals have only one."""
    for _ in range(TRIES):
        code = pair.call(method, [NO_MESSAGE])
        if code != "RESOURCE_EXHAUSTED":
            break
        time.sleep(0.1)
    return code


def test_bytes_that_are_no_message_are_a_bad_request_of_every_method(pair: FuzzedPair) -> None:
    """Also where gRPC would decode before any handler runs, and answer INTERNAL without a reason."""
    answers = {method[1].full_name: answer(pair, method) for method in pair.methods()}

    assert dict.fromkeys(answers, "INVALID_ARGUMENT") == answers


def test_servers_under_hostile_bytes_and_messages_are_afterwards_as_they_were(pair: FuzzedPair) -> None:
    """No fault of ours is answered or logged, the same is spoken and told, and nothing has grown."""
    begun(pair)
    campaign = Campaign(pair, seed_number=SEED, examples=EXAMPLES)
    wrong = campaign.round()

    assert [] == wrong
    assert [] == pair.growth()
    assert len(pair.methods()) == len(campaign.answers)
