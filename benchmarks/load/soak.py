"""Everything at once for a while: what is lost, mixed up or left behind shows. `sound` says whether nothing was."""

import asyncio
import random
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from benchmarks.load.leaks import Standing, settled, stand
from benchmarks.load.load_run import Plan, Ran, Tell, beside, run_load
from benchmarks.load.manner import ENCODINGS
from benchmarks.load.misbehaviour import MISBEHAVIOURS
from benchmarks.load.rows import BUILTIN, family
from benchmarks.load.run_end import RunEnd
from benchmarks.load.served import Asked, Served, served
from benchmarks.load.squeeze import Neighbour, Squeezed, neighbour

WARM_SECONDS: Final = 6.0
"""Of the same work before anything is counted: pools and caches grow with the first burst."""

EXPECTED_FAILURES: Final = frozenset({"AT_CAPACITY", "bulk AT_CAPACITY", "DEVICE_MEMORY", "bulk DEVICE_MEMORY"})
"""A service that is asked for too much may say so."""

REPRODUCIBLE_EVERY: Final = 5
"""Of the sessions of a model whose sessions share work: those are compared. No divisor of the number of encodings."""

GROWTH_JUDGED_SECONDS: Final = 300.0
GROWTH_MIB_MOST: Final = 64.0
"""Over the second half of a run that is long enough to tell growth from warming up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Soaked:
    """What a soak found."""

    ran: Ran
    before: Standing
    after: Standing
    squeezes: dict[str, int]
    wrong: list[str]

    def fields(self) -> dict[str, Any]:
        """Return the figures, for JSON."""
        return {
            "wrong": self.wrong,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "squeezes": self.squeezes,
            "comparisons": [asdict(each) for each in self.ran.comparisons],
            "processes": self.ran.processes,
            **self.ran.tally.fields(),
        }


def soaking(plan: Plan) -> Plan:
    """Return a plan with everything in it that is not yet: interruptions, arrivals, bulk, all who misbehave.

    What sessions compute together differs in its last bits, and so in what is said, from what one computes alone. So
    some of them ask to be reproducible, and it is their bytes that must be the same.
    """
    manner = plan.manner
    encodings = manner.encodings if len(manner.encodings) > 1 else tuple(ENCODINGS)
    every = manner.reproducible_every or (0 if family(manner.model) == BUILTIN else REPRODUCIBLE_EVERY)
    return replace(
        plan,
        manner=replace(
            manner,
            encodings=encodings,
            barge_in_share=manner.barge_in_share or 0.3,
            reproducible_every=every,
        ),
        rate_per_second=plan.rate_per_second or 0.2,
        readers=plan.readers or 1,
        checked=plan.checked or 20,
        misbehaving=plan.misbehaving or tuple(MISBEHAVIOURS),
    )


async def soak(asked: Asked, plan: Plan, squeezed: Squeezed, *, tell: Tell, phase: Callable[[str], None]) -> Soaked:
    """Run all workloads beside each other on a service of our own, or on one whose processes are known."""
    with tempfile.TemporaryDirectory(prefix="greenroom-soak-") as folder, neighbour(squeezed, Path(folder)) as taker:
        if taker is not None:
            asked = replace(asked, with_daemon=True, daemon_env=taker.daemon_env)
        async with served(asked) as service:
            if service.pid is None or service.control_socket is None:
                raise ValueError("a soak looks into the service: name its --pid and its --control-socket")
            manner = replace(plan.manner, model=service.model, voice=service.voice)
            return await _soaked(service, soaking(replace(plan, manner=manner)), taker, tell, phase)


async def _soaked(
    service: Served, plan: Plan, taker: Neighbour | None, tell: Tell, phase: Callable[[str], None]
) -> Soaked:
    phase("warming up")
    await run_load(service, replace(plan, seconds=WARM_SECONDS, checked=0), tell=tell)
    before = await asyncio.to_thread(stand, service)
    phase("everything at once")
    squeezes: dict[str, int] = {}
    async with beside([] if taker is None else [_squeezing(taker, plan, squeezes)]):
        ran = await run_load(service, plan, tell=tell)
    phase("looking for what is left")
    after, left = await settled(service, before)
    return Soaked(ran=ran, before=before, after=after, squeezes=squeezes, wrong=[*left, *wrong_in(ran)])


def wrong_in(ran: Ran) -> list[str]:
    """Return what a run must not have met, in words."""
    tally = ran.tally
    wrong = list(tally.findings[:10])
    wrong += [f"spoken alone it differs: {each}" for each in ran.comparisons if not each.is_met]
    wrong += [f"{count} x {reason}" for reason, count in tally.failures.items() if reason not in EXPECTED_FAILURES]
    if tally.counts["rejects without RetryInfo"]:
        wrong.append(f"{tally.counts['rejects without RetryInfo']} rejects without RetryInfo")
    if ran.processes is not None and tally.elapsed() >= GROWTH_JUDGED_SECONDS:
        grown_mib = ran.processes["growth_mib_per_minute"] * tally.elapsed() / 120.0
        if grown_mib > GROWTH_MIB_MOST:
            wrong.append(f"{grown_mib:.0f} MiB grown in the second half")
    return wrong


async def _squeezing(taker: Neighbour, plan: Plan, squeezes: dict[str, int]) -> None:
    def told(kind: str) -> None:
        squeezes[kind] = squeezes.get(kind, 0) + 1

    source = random.Random(plan.manner.seed)  # noqa: S311  # Moments, no secrets.
    await taker.squeeze(source, RunEnd(seconds=plan.seconds), told)
