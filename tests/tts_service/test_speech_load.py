"""What is measured of speech for admission."""

from dataclasses import replace

import pytest

from tests.fakes.manual_clock import ManualClock
from tests.fakes.metered import CHUNK, CONFIG, DONE
from tts_service.api.speech_load import SpeechLoad
from tts_service.scheduling.utilisation import Company, Part, on_cpu
from tts_service.speech.session_config import Pacing
from tts_service.types import VOICE, ModuleName, Priority


class Desk:
    """A meter with clocks that are moved by hand."""

    def __init__(self, threads: dict[Part, int]) -> None:
        self.clock, self.cpu = ManualClock(), ManualClock()
        self.load = SpeechLoad(on_cpu(2), threads=threads, clock=self.clock, cpu_clock=self.cpu)
        self.load.take(1)

    def pass_second(self) -> None:
        """Let a second pass, of which the event loop took a twentieth."""
        self.clock.advance(1.0)
        self.cpu.advance(0.05)
        self.load.take(1)


def test_steps_are_shares_of_the_threads_that_take_them() -> None:
    """A second of steps in two threads is half of the lane's time."""
    desk = Desk({Part.SOUND: 2})
    for _ in range(100):
        desk.load.stepped(frozenset({VOICE}), 0.6)
        desk.load.stepped(frozenset({ModuleName("t3")}), 0.4)
        desk.pass_second()

    assert {Part.SOUND: pytest.approx(0.5, rel=0.01), Part.FRONT: pytest.approx(0.05, rel=0.01)} == desk.load.known.busy


def test_steps_of_t3_are_a_lane_of_their_own_where_there_is_one() -> None:
    """On a GPU, tokens and sound have a thread each."""
    desk = Desk({Part.TOKENS: 1, Part.SOUND: 1})
    for _ in range(100):
        desk.load.stepped(frozenset({ModuleName("t3"), ModuleName("t3.pages")}), 0.25)
        desk.load.stepped(frozenset({ModuleName("s3gen.flow")}), 0.5)
        desk.pass_second()

    assert pytest.approx(0.25, rel=0.01) == desk.load.known.busy[Part.TOKENS]
    assert pytest.approx(0.5, rel=0.01) == desk.load.known.busy[Part.SOUND]


def test_only_paced_interactive_audio_is_demand() -> None:
    """Bulk and whole texts take what they get; their audio tells what speech costs, and nothing of who listens."""
    desk = Desk({Part.SOUND: 2})
    for _ in range(100):
        desk.load.said(CHUNK, CONFIG)
        desk.load.said(CHUNK, replace(CONFIG, pacing=Pacing.NONE))
        desk.load.said(CHUNK, replace(CONFIG, priority=Priority.BULK))
        desk.pass_second()
    known = desk.load.known

    assert pytest.approx(1.5, rel=0.01) == known.audio_rate
    assert pytest.approx(0.5, rel=0.01) == known.paced_rate


def test_gaps_of_bulk_are_nobodys_gaps() -> None:
    """Who does not listen misses nothing."""
    desk = Desk({Part.SOUND: 2})
    desk.load.said(DONE, replace(CONFIG, priority=Priority.BULK))
    desk.pass_second()
    silent = desk.load.standing(Company(paced=1)).late_share
    desk.load.said(DONE, CONFIG)
    desk.pass_second()

    assert 0.0 == silent < desk.load.standing(Company(paced=1)).late_share
