"""Which schedule an utterance's chunks follow."""

from dataclasses import replace

import pytest

from tts_service.scheduling.chunk_plans import (
    INTERACTIVE_PLANS,
    STANDARD,
    STEADY,
    WHOLE,
    audible_seconds,
    least_lead_seconds,
    plan_for,
)
from tts_service.scheduling.costs import Costs
from tts_service.scheduling.figures import H100_ENGLISH, H100_TURBO
from tts_service.scheduling.work import Priority, Together, Work
from tts_service.speech.mel_chunks import ChunkSchedule, chunk_tokens

FEW = Together(segments=8, chunks=4)
ALONE = Together(segments=1, chunks=1)


def slower(times: float) -> Costs:
    """Return the costs of a device that takes so many times as long as an H100."""
    curves = {
        work: tuple((size, times * seconds) for size, seconds in curve) for work, curve in H100_ENGLISH.curves.items()
    }
    return Costs(figures=replace(H100_ENGLISH, curves=curves))


def test_plan_standard_is_the_schedule_that_there_always_was() -> None:
    """A reproducible request gets the same chunks as before there was a choice."""
    assert ChunkSchedule() == STANDARD.schedule


@pytest.mark.parametrize("costs", [Costs(figures=H100_ENGLISH), Costs(figures=H100_TURBO), slower(20.0)])
def test_plan_of_a_reproducible_request_is_standard_on_every_machine(costs: Costs) -> None:
    """Whatever its priority and whatever the machine."""
    plans = {plan_for(priority, costs, FEW, reproducible=True).name for priority in Priority}

    assert {"standard"} == plans


def test_plan_on_a_fast_machine_is_the_cheapest() -> None:
    """An H100 keeps up with large chunks, and with small ones has less to give."""
    plan = plan_for(Priority.INTERACTIVE, Costs(figures=H100_ENGLISH), FEW)

    assert STEADY == plan
    assert 0.0 <= least_lead_seconds(plan, Costs(figures=H100_ENGLISH), FEW)


def test_plan_on_a_machine_with_slow_tokens_has_smaller_chunks() -> None:
    """Where a large second chunk would come too late, a smaller one is taken."""
    curves = {**H100_ENGLISH.curves, Work.TOKEN: ((2, 0.014),)}
    costs = Costs(figures=replace(H100_ENGLISH, curves=curves))
    leads = {plan.name: least_lead_seconds(plan, costs, ALONE) for plan in INTERACTIVE_PLANS}

    assert leads["steady"] < 0.0 <= leads["standard"], leads
    assert STANDARD == plan_for(Priority.INTERACTIVE, costs, ALONE)


def test_plan_that_no_machine_could_keep_is_the_least_late() -> None:
    """A machine below real time hears gaps with any plan, the fewest with what is chosen."""
    costs = slower(50.0)
    leads = {plan.name: least_lead_seconds(plan, costs, FEW) for plan in INTERACTIVE_PLANS}

    assert max(leads, key=lambda name: leads[name]) == plan_for(Priority.INTERACTIVE, costs, FEW).name
    assert max(leads.values()) < 0.0


def test_plan_of_bulk_decodes_whole_segments() -> None:
    """Nobody waits for its first sound."""
    plan = plan_for(Priority.BULK, Costs(figures=H100_ENGLISH), FEW)

    assert (WHOLE, 1_000) == (plan, chunk_tokens(plan.schedule, 0))


def test_first_chunk_lets_out_what_was_measured() -> None:
    """Of 24 tokens 0.31 s can be heard; the next chunk brings all of its own."""
    heard = [audible_seconds(STANDARD, chunk) for chunk in (0, 1)]

    assert pytest.approx([0.31, 0.48]) == heard
