"""Multilingual's alignment guard against upstream's analyzer, on attention of every kind."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.models.chatterbox.upstream import upstream
from tts_service.speech.alignment_guard import (
    ALIGNED_HEADS,
    AlignmentGlance,
    AlignmentState,
    StopRule,
    follow,
    glance,
    ruled,
)

START, STOP, VOCABULARY = 5, 6, 8
VOICE_TOKENS = 3


class UpstreamAnalyzer:
    """Upstream's analyzer, given attention by hand instead of by hooks."""

    def __init__(self, text_tokens: int) -> None:
        layers = [SimpleNamespace(self_attn=torch.nn.Identity()) for _ in range(14)]
        self.span = (VOICE_TOKENS, VOICE_TOKENS + text_tokens)
        self._analyzer = upstream("models.t3.inference.alignment_stream_analyzer").AlignmentStreamAnalyzer(
            SimpleNamespace(layers=layers), None, text_tokens_slice=self.span, eos_idx=STOP
        )

    def step(self, heads: torch.Tensor, logits: torch.Tensor, last_token: int) -> torch.Tensor:
        """Return the logits after one step, for the last position's attention (heads, positions)."""
        first = not self._analyzer.curr_frame_pos
        # The first time, upstream sees all positions, of which two come after the text.
        rows = torch.zeros(len(heads), self.span[1] + 2 if first else 1, heads.shape[1])
        rows[:, -1] = heads
        self._analyzer.last_aligned_attns = list(rows)
        changed: torch.Tensor = self._analyzer.step(logits.clone()[None], next_token=last_token)[0]
        return changed


class OurGuard:
    """Our guard through the same door."""

    def __init__(self, text_tokens: int) -> None:
        self._state = AlignmentState(text_tokens=text_tokens)
        self._span = (VOICE_TOKENS, VOICE_TOKENS + text_tokens)
        self._step = 0

    def step(self, heads: torch.Tensor, logits: torch.Tensor, last_token: int) -> torch.Tensor:
        """Return the logits after one step."""
        self._state, rule = follow(self._state, glance(heads, self._span, self._step), last_token)
        self._step += 1
        return ruled(logits, rule, STOP)


def attention(text_tokens: int, step: int, weights: dict[int, float]) -> torch.Tensor:
    """Return three heads' attention at a step, that much of it on these text tokens."""
    heads = torch.zeros(len(ALIGNED_HEADS), VOICE_TOKENS + text_tokens + 2 + step)
    for token, weight in weights.items():
        heads[:, VOICE_TOKENS + token] = weight
    return heads


def run(guard: Any, text_tokens: int, weights: list[dict[int, float]], tokens: list[int]) -> list[list[float]]:
    """Return the logits after each step; the start token stands before the tokens."""
    logits = torch.arange(float(VOCABULARY))
    return [
        guard.step(attention(text_tokens, step, each), logits, last).tolist()
        for step, (each, last) in enumerate(zip(weights, [START, *tokens], strict=False))
    ]


def fates(text_tokens: int, weights: list[dict[int, float]], tokens: list[int]) -> list[StopRule]:
    """Return what the guard does at each step."""
    forced, suppressed = [-(2.0**15)] * VOCABULARY, -(2.0**15)
    forced[STOP] = 2.0**15
    rows = run(OurGuard(text_tokens), text_tokens, weights, tokens)
    return [
        StopRule.FORCED if row == forced else StopRule.SUPPRESSED if row[STOP] == suppressed else StopRule.FREE
        for row in rows
    ]


def different(count: int) -> list[int]:
    """Return tokens of which no two neighbours are equal."""
    return [index % 2 for index in range(count)]


walks = st.lists(st.tuples(st.integers(-6, 9), st.floats(0.05, 1.0), st.integers(0, 30)), min_size=5, max_size=60)


@settings(deadline=None, max_examples=80)
@given(text_tokens=st.integers(6, 24), walk=walks, data=st.data())
def test_every_decision_equals_upstreams(
    text_tokens: int, walk: list[tuple[int, float, int]], data: st.DataObject
) -> None:
    """For any course of the attention and any tokens, the logits after each step are upstream's."""
    position, weights = 0, []
    for move, weight, other in walk:
        position = min(max(position + move, 0), text_tokens - 1)
        weights.append({other % text_tokens: weight / 2, position: weight})
    tokens = data.draw(st.lists(st.integers(0, 4), min_size=len(walk), max_size=len(walk)))

    assert run(UpstreamAnalyzer(text_tokens), text_tokens, weights, tokens) == run(
        OurGuard(text_tokens), text_tokens, weights, tokens
    )


def test_noise_that_is_spread_over_the_text_is_judged_as_upstream_judges_it() -> None:
    """Attention on every text token at once, in all heads differently, gives upstream's decisions."""
    generator = torch.Generator().manual_seed(2)
    theirs, ours = UpstreamAnalyzer(12), OurGuard(12)
    logits = torch.zeros(VOCABULARY)
    for step in range(80):
        heads = torch.rand(3, VOICE_TOKENS + 14 + step, generator=generator).softmax(dim=-1) * 4

        assert torch.equal(theirs.step(heads, logits, step % 3), ours.step(heads, logits, step % 3))


def test_stop_is_suppressed_until_the_text_is_nearly_spoken() -> None:
    """While attention is before the last three tokens the stop token cannot come; then it may."""
    weights = [{step: 1.0} for step in range(10)]

    assert [StopRule.SUPPRESSED] * 7 + [StopRule.FREE] * 3 == fates(10, weights, different(9))


def test_long_tail_forces_the_stop() -> None:
    """Five steps' worth of attention on the last token, after the text is complete, end the speech."""
    weights = [{step: 1.0} for step in range(10)] + [{9: 1.0}] * 6

    assert [StopRule.FREE] * 3 + [StopRule.FORCED] * 3 == fates(10, weights, different(15))[10:]


def test_speaking_the_text_again_forces_the_stop() -> None:
    """More than five steps' worth of attention on earlier text, after the end, end the speech."""
    weights = [{step: 1.0} for step in range(10)] + [{2: 1.0}] * 7
    rules = fates(10, weights, different(16))

    assert [StopRule.SUPPRESSED] * 5 == rules[10:15]
    assert [StopRule.FORCED] * 2 == rules[15:]


@pytest.mark.parametrize("text_tokens", [4, 30])
def test_two_equal_tokens_force_the_stop(text_tokens: int) -> None:
    """The same token twice ends the speech; the start token and the first are not compared."""
    weights = [{0: 1.0}] * 5

    assert StopRule.FORCED is fates(text_tokens, weights, [1, 2, 2])[3]
    assert StopRule.FORCED is not fates(text_tokens, weights, [START, 2, 3])[1]


@pytest.mark.parametrize("text_tokens", [2, 3, 4, 5])
def test_short_text_is_followed_without_upstreams_crash(text_tokens: int) -> None:
    """Five tokens or fewer have no earlier text to repeat, and their stop is never suppressed."""
    weights = [{step % text_tokens: 1.0} for step in range(8)]

    assert [StopRule.FREE] * 8 == fates(text_tokens, weights, different(7))
    with pytest.raises(IndexError):
        run(UpstreamAnalyzer(text_tokens), text_tokens, weights, different(7))


def test_long_tail_is_noticed_in_short_text_too() -> None:
    """Humming on after a single word ends."""
    assert StopRule.FORCED is fates(3, [{2: 1.0}] * 12, different(11))[-1]


def test_jump_is_not_believed() -> None:
    """A position seven tokens ahead is not taken over, so that the text is not complete before its time."""
    state = AlignmentState(text_tokens=10)
    seen = AlignmentGlance(position=7, tail=(1.0, 0.0, 0.0), earlier=0.0)
    after, rule = follow(state, seen, START)

    assert (0, False) == (after.position, after.complete)
    assert StopRule.FREE is rule


def test_logits_under_no_rule_are_the_same_tensor() -> None:
    """Where nothing is ruled, nothing is copied; otherwise the given logits stay as they are."""
    logits = torch.ones(VOCABULARY)
    suppressed = ruled(logits, StopRule.SUPPRESSED, STOP)

    assert logits is ruled(logits, StopRule.FREE, STOP)
    assert [1.0] * VOCABULARY == logits.tolist()
    assert -(2.0**15) == suppressed[STOP]
