"""All the rules of `governor` at random, against a few plain variables that say what must be true."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from tests.fakes.manual_clock import ManualClock
from tts_service.errors import CallerError, Reason
from tts_service.residency import governor as rules
from tts_service.residency.governor import Effect, Governor, Hello
from tts_service.residency.types import Directive


class GovernorMachine(RuleBasedStateMachine):
    """Holders come, speak, hang and go at random; plain variables say what must then be true."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.governor = Governor()
        self.applied: Directive | None = None
        self.word_ends_seconds = 0.0
        self.seen_epochs = [0]

    @rule(holder=st.sampled_from("ab"), takeover=st.booleans())
    def come(self, holder: str, takeover: bool) -> None:  # noqa: FBT001 - hypothesis passes it by name.
        """Let a holder say hello."""
        before, now = self.governor, self.clock()
        held = before.attached or (self.applied is not None and now < self.word_ends_seconds)
        greeting = Hello(holder_id=holder, takeover=takeover)
        if held and not takeover and holder != before.holder_id:
            with pytest.raises(CallerError) as refused:
                rules.hello(before, greeting, now_seconds=now)
            assert refused.value.reason is Reason.GOVERNED
            return
        self.governor = rules.hello(before, greeting, now_seconds=now)
        self.seen_epochs.append(self.governor.epoch)

    @rule(steps_back=st.integers(0, 2))
    def go(self, steps_back: int) -> None:
        """End the stream of a recent epoch."""
        self.governor = rules.leave(self.governor, self.seen_epochs[max(0, len(self.seen_epochs) - 1 - steps_back)])

    @precondition(lambda self: self.governor.attached)
    @rule(version=st.integers(0, 4), valid=st.sampled_from([0.5, 1.0, 5.0]), budget=st.sampled_from([None, 1]))
    def speak(self, version: int, valid: float, budget: int | None) -> None:
        """Let the attached holder give its word."""
        wish = Directive(epoch=self.governor.epoch, version=version, valid_for_seconds=valid, budget_bytes=budget)
        before, now = self.governor, self.clock()
        try:
            self.governor, effect = rules.direct(before, wish, stream_epoch=before.epoch, now_seconds=now)
        except CallerError:
            assert self.governor is before
            return
        if effect is Effect.APPLY:
            self.applied = wish
        self.word_ends_seconds = now + valid

    @rule(version=st.integers(1, 9))
    def speak_from_the_past(self, version: int) -> None:
        """Let a superseded holder give its word."""
        stale = self.governor.epoch - 1
        wish = Directive(epoch=stale, version=version, valid_for_seconds=5.0)
        with pytest.raises(CallerError) as refused:
            rules.direct(self.governor, wish, stream_epoch=stale, now_seconds=self.clock())
        assert refused.value.reason is Reason.SUPERSEDED

    @rule(seconds=st.sampled_from([0.0, 0.5, 2.0, 11.0]))
    def wait(self, seconds: float) -> None:
        """Let time pass, and the timer look."""
        self.clock.advance(seconds)
        self.governor, ended = rules.expire(self.governor, now_seconds=self.clock())
        if ended is not None:
            assert self.clock() >= self.word_ends_seconds
            self.applied = None

    @invariant()
    def manager_knows_what_is_in_force(self) -> None:
        """Check that the manager has a directive exactly while one is in force, and no later than its time."""
        assert (self.applied is not None) == (self.governor.expires_at_seconds is not None)
        assert self.applied is None or self.clock() <= self.word_ends_seconds

    @invariant()
    def epochs_rise(self) -> None:
        """Check that no epoch is given twice."""
        assert self.seen_epochs == sorted(set(self.seen_epochs))

    @invariant()
    def version_is_of_the_newest_epoch(self) -> None:
        """Check that a version in force is that of the newest epoch's last directive."""
        version = rules.version_in_force(self.governor)
        applied = self.applied
        ours = applied is not None and applied.epoch == self.governor.epoch
        assert version == (applied.version if ours and applied is not None else 0)


TestGovernorMachine = GovernorMachine.TestCase
TestGovernorMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
