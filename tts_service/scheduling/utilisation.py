"""How busy the service is with the sessions that it let in, and would be with one more: measured. Pure.

Rules
* What a second of speech takes of each part of the service is by figures to begin with, then by what it was seen to
  take: the figures keep their shape over the number of speakers, and are corrected by one factor a part.
* A part that does work together when there is much, and at once when there is little, is as busy with few speakers as
  with many: its share of the time tells nothing. It tells of its runs instead, each of which has its figure; what is
  learned then is by how much those are wrong.
* A paced session takes a second of audio every second while it speaks. How much those that are open speak is measured
  over the last `RECENT_SECONDS`. Who has come in only lately was not seen yet and counts as if it spoke all the time,
  less and less. A share of those that listen counts always: they may speak at any moment.
* Whoever is not paced takes what it gets; as real time is all that it was promised, it counts as one that speaks.
* One always comes in where nobody is. Where not even one stays in real time, there is nothing to keep: sessions come
  in by their number alone.
* Listeners that ran dry show that the figures are wrong for as many speakers as there were. With far fewer here now
  they show nothing any more, and would keep an empty machine shut. Nor does a single gap show anything: whatever held
  the machine up for a moment would keep the second caller out for a quarter of a minute.
* Bulk counts for nothing here, because it has what is left; what its speech takes is learned from all the same.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from tts_service.scheduling.capacity import Standing, Usage, load_of
from tts_service.scheduling.costs import Costs, Figures
from tts_service.scheduling.work import Together

RECENT_SECONDS: Final = 10.0
"""Over about two sentences with the pauses between them, so that who speaks now and then is seen to do so."""
TRUSTED_SECONDS: Final = 0.25
"""Figures count like so many seconds of a part's work that were measured."""
REMEMBERED_SECONDS: Final = 20.0
"""Of a part's work; what was measured before it is forgotten in proportion."""
LEAST_AUDIO_RATE: Final = 0.5
"""Seconds of audio a second below which nothing is learned: what is not speech would be taken for its cost."""
FORGOTTEN_GAPS: Final = 0.1
"""What is left of a single gap after 23 s."""
LONE_GAPS: Final = 1.0
"""Of the gaps that are remembered, those that count for nothing; among many speakers hardly a difference."""
SIMILAR_SHARE: Final = 0.75
"""Of the speakers beside whom listeners ran dry, from which on that may happen again."""
MOST_FRONT_FACTOR: Final = 8.0
"""The event loop's time is measured with all that it does, a client's ten thousand flushes too: a second of speech is
held to take no more than 32 ms of it. Coding Ogg/Opus takes 4."""


class Part(Enum):
    """What can be short: the two lanes of the engine, and the event loop, which paces, codes and writes."""

    TOKENS = "tokens"
    SOUND = "sound"
    FRONT = "front"


Shares = Mapping[Part, float]
"""Of each part's time; above 1 it cannot keep up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is known of the service before anything was measured."""

    shares: Callable[[float], Shares]
    """By the figures: what so many speakers take of each part."""
    first_audio_seconds: float
    """From admission to the first sound of a session that is alone."""


FRONT_SHARE: Final = 0.004
"""Of the event loop for one paced session that speaks, in pieces of 40 to 80 ms: 2.6 ms a second for gRPC alone."""
CPU_SECONDS: Final = 0.035
"""Of one core for a second of the built-in voice's speech: 9 ms for the voice, 23 for the mark, and the coding."""


def on_cpu(threads: int) -> Machine:
    """Return what is known of the built-in voice, whose steps share threads: as much for each who speaks."""
    assert threads >= 1

    def shares(speakers: float) -> Shares:
        return {Part.SOUND: speakers * CPU_SECONDS / threads, Part.FRONT: speakers * FRONT_SHARE}

    return Machine(shares=shares, first_audio_seconds=0.1)


def on_device(figures: Figures, together: Together, usage: Usage) -> Machine:
    """Return what is known of a device with these figures, of which so much is computed together."""
    costs = Costs(figures=figures)

    def shares(speakers: float) -> Shares:
        load = load_of(speakers, costs, usage, together)
        return {Part.TOKENS: load.tokens, Part.SOUND: load.sound, Part.FRONT: speakers * FRONT_SHARE}

    return Machine(shares=shares, first_audio_seconds=0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What runs of a part took, and what they take by the figures."""

    seconds: float = 0.0
    expected_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What happened since the last time: busy seconds of each part (divided by its threads), and what was sent."""

    busy_seconds: Mapping[Part, float] = field(default_factory=dict)
    runs: Mapping[Part, Runs] = field(default_factory=dict)
    """Of parts that tell of them."""
    audio_seconds: float = 0.0
    paced_seconds: float = 0.0
    """Of that, for interactive sessions that are paced."""
    gaps: int = 0
    """Times that a listener ran out of audio."""
    sessions: int = 0
    """Interactive ones that were open."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """What a part's work took, beside what the figures said that it would."""

    measured_seconds: float = TRUSTED_SECONDS
    expected_seconds: float = TRUSTED_SECONDS

    @property
    def factor(self) -> float:
        """By how much the figures are wrong."""
        return self.measured_seconds / self.expected_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Utilisation:
    """What was measured. Rates are a second's, over the last `RECENT_SECONDS`; what is older fades."""

    at: float
    busy: Shares = field(default_factory=dict)
    audio_rate: float = 0.0
    paced_rate: float = 0.0
    gap_rate: float = 0.0
    gap_speakers: float = 0.0
    """How many spoke at the least when there were gaps, as far as those are remembered."""
    newcomers: float = 0.0
    """Paced sessions that came in lately, each counted for what was not seen of it yet."""
    corrections: Mapping[Part, Correction] = field(default_factory=dict)
    by_runs: frozenset[Part] = frozenset()
    """Parts that have told of their runs: their share of the time is not learned from any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Company:
    """Interactive sessions that are open. `beginning` of them were asked to speak and have not sounded yet."""

    paced: int = 0
    unpaced: int = 0
    beginning: int = 0


def measured(before: Utilisation, seen: Seen, machine: Machine, now: float) -> Utilisation:
    """Return what is known after some time in which this was seen."""
    passed = max(now - before.at, 0.0)
    audio_rate = _faded(before.audio_rate, seen.audio_seconds, passed)
    by_runs = before.by_runs | seen.runs.keys()
    corrections = dict(before.corrections)
    if seen.audio_seconds >= LEAST_AUDIO_RATE * passed:
        corrections |= _by_audio(before, seen, machine, speakers=max(1.0, audio_rate), but=by_runs)
    corrections |= {part: _learned(before, part, runs) for part, runs in seen.runs.items()}
    parts = {*before.busy, *seen.busy_seconds}
    speakers = min(before.paced_rate + before.newcomers, float(seen.sessions))
    return Utilisation(
        at=now,
        busy={part: _faded(before.busy.get(part, 0.0), seen.busy_seconds.get(part, 0.0), passed) for part in parts},
        audio_rate=audio_rate,
        paced_rate=_faded(before.paced_rate, seen.paced_seconds, passed),
        gap_rate=_faded(before.gap_rate, seen.gaps, passed),
        gap_speakers=_fewest(before, speakers) if seen.gaps else before.gap_speakers,
        newcomers=before.newcomers * math.exp(-passed / RECENT_SECONDS),
        corrections=corrections,
        by_runs=by_runs,
    )


def joined(before: Utilisation) -> Utilisation:
    """Return what is known after a paced interactive session came in."""
    return replace(before, newcomers=before.newcomers + 1.0)


def demand(known: Utilisation, company: Company, *, listening_share: float) -> float:
    """Return how many sessions speak all the time that ask for as much as those who are here."""
    seen = known.paced_rate + known.newcomers
    return company.unpaced + min(float(company.paced), max(seen, listening_share * company.paced))


def shares(known: Utilisation, machine: Machine, speakers: float) -> Shares:
    """Return what so many speakers take of each part, by all that is known."""
    if speakers <= 0.0:
        return dict.fromkeys(machine.shares(1.0), 0.0)
    return {part: share * _factor(known, part) for part, share in machine.shares(speakers).items()}


def standing_with(known: Utilisation, machine: Machine, company: Company, *, listening_share: float) -> Standing:
    """Return how the machine stands with this company, of which one more would speak all the time."""
    slowest = max(_factor(known, part) for part in Part)
    one = max(shares(known, machine, 1.0).values())
    first_audio_seconds = machine.first_audio_seconds * max(1.0, slowest)
    if one >= 1.0 or not company.paced + company.unpaced:
        return Standing(load=0.0, load_with_one=1e-9, first_audio_seconds=first_audio_seconds)
    speakers = demand(known, company, listening_share=listening_share)
    load = max(shares(known, machine, speakers).values())
    with_one = max(shares(known, machine, speakers + 1.0).values())
    return Standing(
        load=load,
        # Where more at once costs less each, figures may even say that one more costs nothing.
        load_with_one=max(with_one, load * (1.0 + 0.5 / max(1.0, speakers)), 1e-9),
        late_share=_late_share(known) if _like_when_late(known, speakers) else 0.0,
        first_audio_seconds=first_audio_seconds,
        beginning=company.beginning,
    )


def _faded(rate: float, amount: float, passed: float) -> float:
    """Return a rate after some time in which an amount came, evenly spread."""
    if passed <= 0.0:
        return rate + amount / RECENT_SECONDS
    kept = math.exp(-passed / RECENT_SECONDS)
    return rate * kept + amount / passed * (1.0 - kept)


def _fewest(known: Utilisation, speakers: float) -> float:
    """Return the fewest speakers beside whom there were gaps; earlier ones count while they are remembered."""
    is_remembered = known.gap_rate * RECENT_SECONDS >= FORGOTTEN_GAPS
    return min(known.gap_speakers, speakers) if is_remembered else speakers


def _late_share(known: Utilisation) -> float:
    """Return how many gaps there were of late for each second of audio, but for a lone one."""
    return max(0.0, known.gap_rate - LONE_GAPS / RECENT_SECONDS) / max(1.0, known.audio_rate)


def _like_when_late(known: Utilisation, speakers: float) -> bool:
    return speakers + 1.0 > SIMILAR_SHARE * known.gap_speakers


def _factor(known: Utilisation, part: Part) -> float:
    factor = known.corrections.get(part, Correction()).factor
    return min(factor, MOST_FRONT_FACTOR) if part is Part.FRONT else factor


def _by_audio(
    before: Utilisation, seen: Seen, machine: Machine, *, speakers: float, but: frozenset[Part]
) -> Mapping[Part, Correction]:
    """Return what is learned from the time that audio took of each part but these."""
    return {
        part: _learned(
            before,
            part,
            Runs(seconds=seen.busy_seconds.get(part, 0.0), expected_seconds=share / speakers * seen.audio_seconds),
        )
        for part, share in machine.shares(speakers).items()
        if part not in but
    }


def _learned(before: Utilisation, part: Part, runs: Runs) -> Correction:
    known = before.corrections.get(part, Correction())
    total = known.expected_seconds + runs.expected_seconds
    kept = min(1.0, REMEMBERED_SECONDS / total)
    return Correction(measured_seconds=kept * (known.measured_seconds + runs.seconds), expected_seconds=kept * total)
