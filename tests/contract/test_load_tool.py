"""The load tool against the real service: what it counts is there, and what it checks holds."""

import asyncio

from benchmarks.load.arrivals import Arrivals
from benchmarks.load.load_run import Plan, Ran, run_load
from benchmarks.load.manner import Manner
from benchmarks.load.report import run_table
from benchmarks.load.served import Asked, served
from benchmarks.load.soak import wrong_in
from tools.both import Both

SECONDS = 3.0
MANNER = Manner(
    words=4.0,
    turns=2,
    think_seconds=0.05,
    barge_in_share=0.4,
    encodings=("pcm", "opus", "mulaw"),
    tokens_per_second=80.0,
)


async def put(both: Both, manner: Manner = MANNER, **changes: object) -> Ran:
    """Put load on the service that runs."""
    asked = Asked(address=both.speech_address, pid=both.service.pid, control_socket=str(both.control_socket))
    async with served(asked) as service:
        return await run_load(service, Plan(seconds=SECONDS, manner=manner, **changes), tell=lambda *_: None)


async def test_sessions_are_held_heard_and_found_to_be_themselves(both: Both) -> None:
    """Sessions speak, are interrupted and acknowledged, and each sampled utterance is the same alone."""
    ran = await put(both, sessions=3, within_seconds=0.2, checked=4)
    tally = ran.tally

    assert [] == tally.findings
    assert 3 == tally.most_open
    assert tally.counts["utterances"] >= 1
    assert tally.first_audio.count >= 1
    assert ran.comparisons
    assert [] == [each for each in ran.comparisons if not each.is_met]
    assert ran.processes is not None
    assert ran.processes["peak_resident_mib"] > 10
    assert run_table("load", ran).row_count > 10


async def test_arrivals_that_find_no_room_are_late_and_counted(both: Both) -> None:
    """With room for one, who speaks longer than the run is, those who come meanwhile wait and are not forgotten."""
    manner = Manner(words=60.0, turns=1)
    ran = await put(both, manner, sessions=0, rate_per_second=20.0, arrivals=Arrivals.EVEN, most=1)
    counts = ran.tally.counts

    assert counts["arrivals that never began"] >= 10
    assert counts["arrivals"] == 1 + counts["arrivals that never began"]
    assert 1 == ran.tally.most_open
    assert ran.tally.late.max_seconds > 1.0
    assert [] == ran.tally.findings


async def test_clients_that_misbehave_do_no_harm_to_one_that_does_not(both: Both) -> None:
    """While others vanish, babble and knock at the door, a session is served, and nobody stays behind."""
    ran = await put(both, sessions=1, readers=1, checked=2, misbehaving=("vanish", "churn", "nonsense"))
    for _ in range(100):
        if not both.residency().sessions:
            break
        await asyncio.sleep(0.1)

    assert [] == wrong_in(ran)
    assert ran.bulk_times_real_time > 0.0
    assert ran.tally.counts["vanished clients"] >= 1
    assert ran.tally.counts["connections dropped"] >= 1
    assert 0 == both.residency().sessions
