"""One round of everything hostile against both servers, with what is wrong afterwards as words."""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.fuzz.fuzzed_pair import FAULTS, FuzzedPair, Method
from tests.fuzz.hostile_messages import hostile_requests
from tests.fuzz.hostile_sockets import hostile_stream, pour

PHASES: Final = (Phase.generate, Phase.shrink)
WORDS_MAXIMUM: Final = 600
"""Of a failure: some messages are long."""


class Campaign:
    """Rounds against a pair of servers; `answers` counts what calls ended with, by method."""

    def __init__(self, pair: FuzzedPair, *, seed_number: int, examples: int) -> None:
        self.answers: dict[str, Counter[str]] = {}
        self.poured = 0
        self._pair = pair
        self._seed = seed_number
        self._examples = examples

    def __repr__(self) -> str:
        calls = sum(sum(each.values()) for each in self.answers.values())
        return f"<Campaign {calls} calls | {self.poured} hostile streams>"

    def round(self) -> list[str]:
        """Go once over all that listens and all that can be called; return what went wrong, and what is other now."""
        wrong = [words for name in self._pair.sockets() for words in _failure(partial(self.streams, name))]
        for method in self._pair.methods():
            wrong += _failure(partial(self.calls, method))
        return wrong + self._pair.changes()

    def calls(self, method: Method) -> None:
        """Send hostile messages to a method; raises AssertionError with the smallest that ends in a fault."""
        told = self.answers.setdefault(method[1].full_name, Counter())

        def check(requests: list[bytes]) -> None:
            answer = self._pair.call(method, requests)
            told[answer.partition(":")[0]] += 1
            assert answer.partition(":")[0] not in FAULTS, (answer, method[1].full_name, requests)

        self._run(check, hostile_requests(method[1]))

    def streams(self, name: str) -> None:
        """Pour hostile bytes into a listening socket."""
        target = self._pair.sockets()[name]
        paths = tuple(f"/{each.containing_service.full_name}/{each.name}" for _, each in self._pair.methods())

        def check(poured: tuple[bytes, bool]) -> None:
            self.poured += 1
            pour(target, poured[0], abruptly=poured[1])

        self._run(check, st.tuples(hostile_stream(paths), st.booleans()))

    def _run(self, check: Callable[..., None], strategy: st.SearchStrategy[object]) -> None:
        checks = list(HealthCheck)
        limits = settings(
            max_examples=self._examples, deadline=None, database=None, phases=PHASES, suppress_health_check=checks
        )
        seed(self._seed)(limits(given(strategy)(check)))()


def begun(pair: FuzzedPair, examples: int = 5) -> None:
    """Have the pair meet a bit of everything, so that pools and caches are as full as they get; note how it is then."""
    Campaign(pair, seed_number=0, examples=examples).round()
    pair.begin()


def _failure(run: Callable[[], None]) -> list[str]:
    try:
        run()
    except (AssertionError, BaseExceptionGroup) as failure:
        inner = failure.exceptions if isinstance(failure, BaseExceptionGroup) else (failure,)
        return [f"{each}"[:WORDS_MAXIMUM] for each in inner]
    return []
