"""Speech with a budget that does not hold all modules at once: it comes in turns, with the same samples."""

import asyncio
from pathlib import Path

import pytest

from tests.fakes.tiny_chatterbox import TinyChatterbox
from tests.fakes.tiny_stage import SIZES, tiny_stage
from tts_service.errors import Reason
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.speech.rendering import AudioFinished, RenderFailed
from tts_service.types import WATERMARK_ENCODER, ModuleName

TEXTS = ("Hello there, this is a first sentence of some length.", "And this is the second one, which is longer.")


@pytest.fixture(scope="module")
def english(tmp_path_factory: pytest.TempPathFactory) -> TinyChatterbox:
    """Return the English model."""
    shared: Path = tmp_path_factory.getbasetemp().parent / "tiny-weights"
    return TinyChatterbox(shared, ChatterboxModel.ENGLISH)


@pytest.fixture(scope="module")
def unbounded(english: TinyChatterbox) -> bytes:
    """Return the utterance's audio where everything fits."""

    async def spoken() -> bytes:
        async with tiny_stage(english) as (_, (listener,)):
            listener.order("u", english.config(), TEXTS)
            await listener.end_of("u")
        return listener.audio("u")

    return asyncio.run(spoken())


@pytest.mark.parametrize(
    ("budget_bytes", "turns"),
    [
        (300, [{T3, S3GEN_FLOW, S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (299, [{T3}, {S3GEN_FLOW, S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (200, [{T3}, {S3GEN_FLOW, S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (199, [{T3, S3GEN_FLOW}, {S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (190, [{T3, S3GEN_FLOW}, {S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (189, [{T3}, {S3GEN_FLOW}, {S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (110, [{T3}, {S3GEN_FLOW}, {S3GEN_VOCODER, WATERMARK_ENCODER}]),
        (109, [{T3}, {S3GEN_FLOW}, {S3GEN_VOCODER}, {WATERMARK_ENCODER}]),
        (100, [{T3}, {S3GEN_FLOW}, {S3GEN_VOCODER}, {WATERMARK_ENCODER}]),
    ],
)
async def test_speech_is_the_same_under_every_budget_and_modules_move_once_a_segment(
    english: TinyChatterbox, unbounded: bytes, budget_bytes: int, turns: list[set[ModuleName]]
) -> None:
    """Modules that fit together share a turn; whatever turns there are, the samples are the same."""
    async with tiny_stage(english, budget_bytes=budget_bytes) as (stage, (listener,)):
        groups = stage.engine.turns(english.config().model)
        before = stage.loads()
        listener.order("u", english.config(), TEXTS)
        end = await listener.end_of("u")
        after = stage.loads()
    restores = {module: after[module] - before[module] for module in after}

    assert isinstance(end, AudioFinished)
    assert turns == list(groups)
    assert unbounded == listener.audio("u")
    # The end of the utterance needs the watermark once more.
    assert max(restores.values()) <= (len(TEXTS) + 1 if len(turns) > 1 else 0)


async def test_budget_below_the_largest_module_is_refused_with_what_it_takes(english: TinyChatterbox) -> None:
    """No token is computed for what can never be heard; the error has the number."""
    async with tiny_stage(english, budget_bytes=SIZES[T3] - 1) as (stage, (listener,)):
        listener.order("u", english.config(), TEXTS)
        end = await listener.end_of("u")
        uses = {each.module: each.uses for each in stage.residency.report().modules}

    assert isinstance(end, RenderFailed)
    assert (Reason.DEVICE_MEMORY, "100") == (end.error.reason, end.error.metadata["needed_bytes"])
    assert dict.fromkeys((T3, S3GEN_FLOW, S3GEN_VOCODER, WATERMARK_ENCODER), 0) == uses


async def test_three_sessions_in_low_memory_do_not_send_each_others_modules_away(
    english: TinyChatterbox, unbounded: bytes
) -> None:
    """Sessions share turns: T3 moves about once a segment, not at every step."""
    async with tiny_stage(english, budget_bytes=200, listeners=3) as (stage, listeners):
        before = stage.loads()[T3]
        for listener in listeners:
            listener.order("u", english.config(), TEXTS)
        await asyncio.gather(*(listener.end_of("u") for listener in listeners))
        restores = stage.loads()[T3] - before

    assert [unbounded] * 3 == [listener.audio("u") for listener in listeners]
    assert restores <= 3 * len(TEXTS)
