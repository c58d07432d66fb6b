"""The flow for several streams at once: a stream's mel is its own, whoever steps beside it, and when."""

import copy
import functools
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fakes.tiny_s3gen import TinyS3Gen, planted_s3gen, smooth_mel
from tts_service.models.chatterbox.running_form import packed
from tts_service.speech.captured.flow_batch import BatchedFlow
from tts_service.speech.captured.flow_buckets import FlowBuckets
from tts_service.speech.captured.flow_shapes import LONG_SHAPES, USUAL_SHAPES, FlowShapes, StepShape
from tts_service.speech.captured.flow_stage import CapturedFlow
from tts_service.speech.captured.flow_weights import flow_form
from tts_service.speech.captured.graphs import EagerGraphs
from tts_service.speech.mel import MelState, decode_mel, wanted_decode, with_mel, with_tokens
from tts_service.speech.mel_flow import MelPrompt, flow_mel
from tts_service.speech.random_source import CounterRandom
from tts_service.types import Precision

MODELS = pytest.mark.parametrize("meanflow", [False, True], ids=["guided", "meanflow"])
CPU = torch.device("cpu")
LENGTHS = (64, 96, 160)
SHAPES = FlowShapes(places=5, lone_frames=LENGTHS, shared_frames=(64, 160), streams=(2, 4))
ROUNDING = 5e-6
"""Of mel whose deviation is about 1. On a CPU no bit differed, with networks of this size; a product of another shape
may still add in another order. A step with a wrong number or a wrong length moves the mel by 0.02 and more."""


@dataclass(frozen=True, slots=True)
class Case:
    """What a decode is made from."""

    prompt: MelPrompt
    tokens: torch.Tensor
    noise: torch.Tensor


def case_of(number: int) -> Case:
    """Return any decode of 36 to 158 frames, always the same for a number; some have tokens that only look ahead."""
    generator = torch.Generator().manual_seed(number)
    length, count = ((10, 8), (20, 30), (30, 49), (15, 20), (5, 70), (31, 41))[number % 6]
    prompt = MelPrompt(
        tokens=torch.randint(0, 6561, (length,), generator=generator),
        mel=smooth_mel(2 * length, generator).T,
        speaker=torch.randn(192, generator=generator),
    )
    frames = 2 * (length + count) - (6 if number % 2 else 0)
    return Case(
        prompt, torch.randint(0, 6561, (count,), generator=generator), torch.randn(80, frames, generator=generator)
    )


@functools.cache
def planted(*, meanflow: bool) -> TinyS3Gen:
    """Return networks that the tests of this file share."""
    return planted_s3gen(meanflow=meanflow)


@functools.cache
def lone(*, meanflow: bool) -> CapturedFlow:
    """Return the stage for one decode at a time."""
    stage = CapturedFlow(EagerGraphs(CPU), buckets=FlowBuckets(LENGTHS))
    stage.capture(planted(meanflow=meanflow).flow)
    return stage


def stage_of(*, meanflow: bool) -> BatchedFlow:
    """Return a stage that nobody has used."""
    stage = BatchedFlow(EagerGraphs(CPU), shapes=SHAPES)
    stage.capture(planted(meanflow=meanflow).flow)
    return stage


@functools.cache
def lone_mel(number: int, *, meanflow: bool) -> torch.Tensor:
    """Return a decode's mel from the stage for one at a time."""
    case = case_of(number)
    return lone(meanflow=meanflow).mel(
        planted(meanflow=meanflow).flow, case.prompt, case.tokens, case.noise, final=True
    )


def begin(stage: BatchedFlow, place: int, number: int, *, meanflow: bool, alone: bool = False) -> None:
    """Begin a decode."""
    case = case_of(number)
    stage.begin(planted(meanflow=meanflow).flow, place, case.prompt, case.tokens, case.noise, alone=alone)


def apart(number: int, mel: torch.Tensor, *, meanflow: bool) -> float:
    """Return how far a mel is from the decode's by itself."""
    want = lone_mel(number, meanflow=meanflow)
    assert want.shape == mel.shape
    assert torch.float32 == mel.dtype
    return float((want - mel).abs().max())


@MODELS
@pytest.mark.parametrize("number", range(6))
def test_batched_flow_of_one_has_the_bits_of_the_lone_stage(meanflow: bool, number: int) -> None:  # noqa: FBT001  # A parameter.
    """A decode by itself is the same work on the same shapes, whether it has a place or not."""
    case, net = case_of(number), planted(meanflow=meanflow)

    made = stage_of(meanflow=meanflow).mel(net.flow, case.prompt, case.tokens, case.noise, final=True)

    assert torch.equal(lone_mel(number, meanflow=meanflow), made)
    assert torch.allclose(
        flow_mel(net.flow, case.prompt, case.tokens, case.noise, final=not number % 2), made, atol=1e-5
    )


@MODELS
@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_batched_flow_of_several_from_begin_to_end_equals_each_alone(meanflow: bool, count: int) -> None:  # noqa: FBT001  # A parameter.
    """Streams of different lengths and voices that take all steps together have the mel that each has alone.

    Five are more than the largest shape holds, and take each step in two batches.
    """
    net, stage = planted(meanflow=meanflow), stage_of(meanflow=meanflow)
    for place in range(count):
        begin(stage, place, place, meanflow=meanflow)
    for _ in range(stage.steps):
        stage.solve(net.flow, range(count))

    far = [apart(place, stage.finished(place), meanflow=meanflow) for place in range(count)]

    assert max(far) < ROUNDING
    assert (0, 1, 2, 3, 4) == stage.free_places


@MODELS
def test_batched_flow_joined_at_any_step_equals_alone(meanflow: bool) -> None:  # noqa: FBT001  # A parameter.
    """Streams that join one step after the other, and leave so, are at different steps in the same batch."""
    net, stage, far = planted(meanflow=meanflow), stage_of(meanflow=meanflow), list[float]()
    for turn in range(stage.steps + 4):
        if turn < 4:
            begin(stage, turn, turn + 1, meanflow=meanflow)
        under_way = [place for place in range(4) if place not in stage.free_places]
        stage.solve(net.flow, under_way)
        far += [apart(p + 1, stage.finished(p), meanflow=meanflow) for p in under_way if not stage.steps_left(p)]

    assert 4 == len(far)
    assert max(far) < ROUNDING


moves = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("solve"), st.integers(1, 31), st.just(value=False)),
        st.tuples(st.just("solve"), st.just(31), st.just(value=False)),
        st.tuples(st.just("drop"), st.integers(0, 4), st.just(value=False)),
    ),
    min_size=5,
    max_size=40,
)


@MODELS
@given(moves=moves)
@settings(deadline=None, max_examples=12)
def test_batched_flow_any_joins_and_cancels_leave_every_mel_as_it_is(
    meanflow: bool,  # noqa: FBT001  # A parameter.
    moves: list[tuple[str, int, bool]],
) -> None:
    """Whoever joins, steps, waits or is cancelled: a stream's mel is its own to rounding, a lone one's to the bit."""
    net, stage = planted(meanflow=meanflow), stage_of(meanflow=meanflow)
    under_way = dict[int, tuple[int, bool]]()

    def solve(chosen: list[int]) -> None:
        stage.solve(net.flow, chosen)
        for place in [each for each in chosen if not stage.steps_left(each)]:
            number, alone = under_way.pop(place)
            assert apart(number, stage.finished(place), meanflow=meanflow) <= (0.0 if alone else ROUNDING)

    for name, number, alone in moves:
        if name == "begin" and stage.free_places:
            place = stage.free_places[number % len(stage.free_places)]
            begin(stage, place, number, meanflow=meanflow, alone=alone)
            under_way[place] = number, alone
        elif name == "solve":
            solve([place for place in under_way if number >> place & 1])
        elif name == "drop" and number in under_way:
            stage.drop(number)
            del under_way[number]
    while under_way:
        solve(list(under_way))


@MODELS
def test_batched_flow_alone_has_the_same_bits_beside_anyone(meanflow: bool) -> None:  # noqa: FBT001  # A parameter.
    """Who must be reproducible has the bits of the stage for one, though it is chosen with others that come and go."""
    net, stage = planted(meanflow=meanflow), stage_of(meanflow=meanflow)
    begin(stage, 2, 3, meanflow=meanflow, alone=True)
    for turn in range(stage.steps):
        if turn % 2 == 0:
            begin(stage, 4, turn, meanflow=meanflow)
        stage.solve(net.flow, [4, 2])
        if turn % 2 == 1:
            stage.drop(4)

    assert torch.equal(lone_mel(3, meanflow=meanflow), stage.finished(2))


@MODELS
def test_batched_flow_neighbours_of_what_is_no_number_are_not_touched(meanflow: bool) -> None:  # noqa: FBT001  # A parameter.
    """A decode that is NaN throughout leaves the mel of those beside it as it is, and so do rows of nobody."""
    net, stage, case = planted(meanflow=meanflow), stage_of(meanflow=meanflow), case_of(1)
    assert stage._captured is not None
    with torch.inference_mode():
        for buffer in (stage._captured.places._mel, stage._captured.places._given):
            buffer.fill_(torch.nan)  # As memory may be that was away.
    for place in (1, 2):
        begin(stage, place, place, meanflow=meanflow)
    stage.begin(net.flow, 0, case.prompt, case.tokens, torch.full_like(case.noise, torch.nan))
    for _ in range(stage.steps):
        stage.solve(net.flow, [0, 1, 2])

    assert torch.isnan(stage.finished(0)).all()
    assert max(apart(place, stage.finished(place), meanflow=meanflow) for place in (1, 2)) < ROUNDING


def test_batched_flow_in_half_precision_is_near_the_lone_stage() -> None:
    """In fp16 a batch of other shapes rounds otherwise: by less than fp16 itself moves the mel."""
    net = planted_s3gen()
    packed(net.flow, flow_form(Precision.FP16))
    stage = BatchedFlow(EagerGraphs(CPU), shapes=SHAPES)
    stage.capture(net.flow)
    cases = [case_of(number) for number in (0, 1, 3)]
    for place, case in enumerate(cases):
        stage.begin(net.flow, place, case.prompt, case.tokens, case.noise)
    for _ in range(stage.steps):
        stage.solve(net.flow, [0, 1, 2])
    together = [stage.finished(place) for place in range(3)]
    alone = [stage.mel(net.flow, each.prompt, each.tokens, each.noise, final=True) for each in cases]

    assert max(float((one - other).abs().max()) for one, other in zip(together, alone, strict=True)) < 0.01


def test_batched_flow_segments_that_stream_together_equal_each_by_itself() -> None:
    """Chunks of two segments, decoded together by the mel's two halves, give each segment its eager mel."""
    net, stage = planted(meanflow=False), stage_of(meanflow=False)
    pieces = [[case_of(seed).tokens[:12].tolist() for seed in (number, number + 1, number + 2)] for number in (0, 3)]

    def by_itself(segment: int) -> torch.Tensor:
        state, made = MelState(), []
        for turn, tokens in enumerate(pieces[segment]):
            state = with_tokens(state, tokens)
            state, mel = decode_mel(
                net.flow, state, net.prompt, CounterRandom(seed=1, segment=segment), final=turn == 2
            )
            made.append(mel)
        return torch.cat(made, dim=1)

    states, made = [MelState(), MelState()], [list[torch.Tensor](), list[torch.Tensor]()]
    for turn in range(3):
        states = [with_tokens(state, pieces[segment][turn]) for segment, state in enumerate(states)]
        decodes = [
            wanted_decode(state, net.prompt, CounterRandom(seed=1, segment=segment), final=turn == 2)
            for segment, state in enumerate(states)
        ]
        for place, decode in enumerate(decodes):
            assert decode is not None
            stage.begin(net.flow, place, net.prompt, decode.tokens, decode.noise)
        for _ in range(stage.steps):
            stage.solve(net.flow, [0, 1])
        for place, decode in enumerate(decodes):
            assert decode is not None
            states[place], mel = with_mel(states[place], decode, stage.finished(place))
            made[place].append(mel)

    assert all(torch.allclose(by_itself(each), torch.cat(made[each], dim=1), atol=1e-4) for each in range(2))


def test_batched_flow_refuses_what_it_did_not_capture_or_has_no_place_for() -> None:
    """Another module, a place that is taken, a decode that is too long or not finished: the caller's errors."""
    net, stage = planted(meanflow=True), stage_of(meanflow=True)
    other, case = copy.deepcopy(net.flow), case_of(2)
    begin(stage, 0, 2, meanflow=True)

    assert stage.is_captured(net.flow)
    assert not stage.is_captured(other)
    assert not stage.holds(case.prompt, 51)
    assert stage.holds(case.prompt, 50)
    with pytest.raises(AssertionError, match="another module"):
        stage.begin(other, 1, case.prompt, case.tokens, case.noise)
    with pytest.raises(AssertionError):
        begin(stage, 0, 1, meanflow=True)
    with pytest.raises(AssertionError):
        stage.finished(0)
    assert "<BatchedFlow 1 of 5 places | 7 shapes of a step>" == repr(stage)
    stage.drop_all()
    assert (0, 1, 2, 3, 4) == stage.free_places


def test_batched_flow_captures_a_graph_for_each_shape_and_no_other() -> None:
    """What is captured is what the shapes say, the largest step first."""
    graphs = EagerGraphs(CPU)
    BatchedFlow(graphs, shapes=SHAPES).capture(planted(meanflow=True).flow)

    steps = ["4 x 160", "2 x 160", "4 x 64", "1 x 160", "2 x 64", "1 x 96", "1 x 64"]
    assert [
        *(f"flow step {each}" for each in steps),
        *(f"flow begin {each}" for each in (160, 96, 64)),
    ] == graphs.captured


def test_flow_shapes_give_the_smallest_step_that_holds() -> None:
    """One alone has a length of its own; several take one of those that are shared."""
    assert StepShape(1, 96) == SHAPES.step_of([66])
    assert StepShape(2, 160) == SHAPES.step_of([66, 10])
    assert StepShape(4, 64) == SHAPES.step_of([2, 10, 64])


def test_flow_shapes_of_the_product_hold_chunks_and_whole_segments() -> None:
    """Chunks of 75 tokens with all their context have a place, and so has the longest segment with Turbo's tail."""
    chunk, segment = 2 * (250 + 250 + 4 + 75 + 3 + 3), 2 * (250 + 1000 + 3)

    assert StepShape(8, 1216) == USUAL_SHAPES.step_of([chunk] * 8)
    assert StepShape(1, 2560) == LONG_SHAPES.step_of([segment])
    assert 14 == len(USUAL_SHAPES.steps())
