"""Sessions with Chatterbox over the wire: streaming, interruption, moves meanwhile, many at once, many in a row."""

import asyncio
from collections.abc import Iterable
from typing import Any

from greenroom.memory.v1 import residency_pb2
from greenroom.tts.v1 import tts_pb2 as pb
from greenroom_client.sync import Client
from tests.fakes.chatterbox_process import SPEECH, away, busy, counted, driven_out, eventually, placed, voices_of
from tests.fakes.wire import audio, cancel, config, converse, end, flush, rest_of, text, until
from tools.both import Both

Response = pb.StreamingSynthesizeResponse

OPENING = "Good evening, and welcome to the greenroom. Please wait here until you are called."
REST = " It will not be long now. Somebody will bring you a glass of water."
MANY_SENTENCES = "Here is one more sentence that takes its time. " * 12


def of_kind(responses: Iterable[Response], kind: str) -> list[Any]:
    """Return the answers of a kind."""
    return [getattr(each, kind) for each in responses if each.WhichOneof("response") == kind]


def sampling(seed: int = 5, **settings: Any) -> pb.Sampling:
    """Return settings with a seed."""
    return pb.Sampling(seed=seed, **settings)


async def spoken(stub: Any, words: str, **fields: Any) -> bytes:
    """Return the samples of an utterance in a session of its own."""
    samples = audio(await converse(stub, [config(**fields), text("u", words), end("u")]))
    assert samples
    return samples


async def read_until(call: Any, kind: str) -> list[Response]:
    """Return all answers up to the first of a kind."""
    responses: list[Response] = []
    async with asyncio.timeout(30):
        while not responses or responses[-1].WhichOneof("response") != kind:
            responses.append(await call.read())
    return responses


async def test_text_written_word_by_word_streams_without_a_gap(english: Any) -> None:
    """Words come, a flush brings their speech before there is more text, and all of it is what the whole text gives."""
    call = english.StreamingSynthesize()
    await call.write(config(sampling=sampling()))
    for word in OPENING.split(" "):
        await call.write(text("u", word if word == "Good" else f" {word}"))
    await call.write(flush("u", "now"))
    responses = await read_until(call, "flushed")
    flushed = responses[-1].flushed
    sent = sum(each.sample_count for each in of_kind(responses, "audio"))
    for word in REST.split(" ")[1:]:
        await call.write(text("u", f" {word}"))
    await call.write(end("u"))
    await call.done_writing()
    responses += await rest_of(call)
    chunks, segments = of_kind(responses, "audio"), of_kind(responses, "segment_done")
    (done,) = of_kind(responses, "utterance_done")

    assert ("now", sent) == (flushed.flush_id, flushed.samples_sent)
    assert list(range(len(chunks))) == [each.sequence for each in chunks]
    assert [sum(c.sample_count for c in chunks[:i]) for i in range(len(chunks))] == [c.sample_offset for c in chunks]
    assert [False] * (len(chunks) - 1) + [True] == [each.last for each in chunks]
    assert [0, *(each.text_end for each in segments)] == [*(each.text_start for each in segments), len(OPENING + REST)]
    assert [0, *(each.sample_end for each in segments)] == [*(each.sample_start for each in segments), done.samples]
    assert (pb.FINISH_REASON_COMPLETE, len(audio(responses)) // 2) == (done.finish_reason, done.samples)
    assert 0 < done.speech_tokens <= done.samples / 960
    assert await spoken(english, OPENING + REST, sampling=sampling()) == audio(responses)


async def test_cancel_stops_audio_and_work_and_gives_claims_back(chatterbox: Both, english: Any) -> None:
    """No chunk follows UtteranceCancelled, no further step is computed, nothing is claimed, and the session lives."""
    call = english.StreamingSynthesize()
    await call.write(config(sampling=sampling()))
    await call.write(text("u", MANY_SENTENCES))
    await until(call, "audio")
    claimed = busy(chatterbox.residency())
    await call.write(cancel("u"))
    cancelled = (await until(call, "utterance_cancelled")).utterance_cancelled
    uses = counted(chatterbox.residency(), "uses", SPEECH)
    released = await asyncio.to_thread(eventually, lambda: not busy(chatterbox.residency()))
    await asyncio.sleep(0.3)
    steps_after = sum(counted(chatterbox.residency(), "uses", SPEECH).values()) - sum(uses.values())
    await call.write(text("v", "Something else."))
    await call.write(end("v"))
    await call.done_writing()
    rest = await rest_of(call)

    assert set(SPEECH) <= claimed.keys()
    assert released
    assert steps_after <= 1  # One may have been about to begin.
    assert MANY_SENTENCES == cancelled.text_spoken + cancelled.text_unspoken
    assert "" != cancelled.text_unspoken
    assert ["v"] == [each.utterance_id for each in of_kind(rest, "utterance_done")]
    assert {"v"} == {each.utterance_id for each in of_kind(rest, "audio")}
    assert {} == busy(chatterbox.residency())


async def test_speech_is_the_same_while_its_modules_leave_after_every_step(chatterbox: Both, english: Any) -> None:
    """With every module driven to disk as soon as a step has ended, the same seed gives the same bytes."""
    words = "Good evening, and welcome to the greenroom."
    settled = await spoken(english, words, sampling=sampling())
    before = counted(chatterbox.residency(), "evictions", SPEECH)
    with driven_out(chatterbox, SPEECH):
        moved = await spoken(english, words, sampling=sampling())
        after = counted(chatterbox.residency(), "evictions", SPEECH)
    evictions = {module: after[module] - before[module] for module in SPEECH}

    assert settled == moved
    assert min(evictions.values()) >= 2, evictions


async def test_modules_placed_on_disk_stay_for_an_open_utterance_and_leave_between_two(
    chatterbox: Both, english: Any
) -> None:
    """PlaceModule waits for claims; the next utterance brings the modules back; both sound as if they had stayed."""
    settled = await spoken(english, OPENING, sampling=sampling())
    call = english.StreamingSynthesize()
    await call.write(config(sampling=sampling()))
    await call.write(text("u", OPENING))
    responses = await read_until(call, "audio")
    try:
        reasons = await asyncio.to_thread(placed, chatterbox, SPEECH, residency_pb2.TIER_DISK)
        await call.write(end("u"))
        responses += await read_until(call, "utterance_done")
        left = await asyncio.to_thread(eventually, lambda: away(chatterbox.residency(), SPEECH))
        await call.write(text("v", OPENING))
        await call.write(end("v"))
        await call.done_writing()
        responses += await rest_of(call)
    finally:
        await asyncio.to_thread(placed, chatterbox, SPEECH, residency_pb2.TIER_UNSPECIFIED)

    assert set(SPEECH) == reasons.keys()
    assert {"claimed", "leased"} >= set(reasons.values())
    assert left
    assert [settled, settled] == [audio(responses, "u"), audio(responses, "v")]


async def test_ten_sessions_at_once_sound_as_each_does_alone(client: Client, english: Any) -> None:
    """Different voices, seeds and settings side by side: nothing of one request reaches another."""
    voices = ["default", *(made.voice.id for made in await asyncio.to_thread(voices_of, client, 3))]

    def session(number: int) -> Any:
        settings = sampling(number // 2, exaggeration=0.2 * number, cfg_weight=0.0 if number % 5 == 4 else 0.5)
        return spoken(
            english, f"This is session number {number}.", voice=voices[number % len(voices)], sampling=settings
        )

    alone = [await session(number) for number in range(10)]
    together = await asyncio.gather(*map(session, range(10)))

    assert [True] * 10 == [a == b for a, b in zip(alone, together, strict=True)]
    assert 10 == len(set(alone))


async def test_each_of_a_request_s_values_changes_the_sound(client: Client, english: Any) -> None:
    """Voice, seed, temperature, guidance and exaggeration are heard, so that comparisons of them show something."""
    voice = (await asyncio.to_thread(voices_of, client, 1))[0].voice.id
    changed = [sampling(), sampling(6), sampling(temperature=2.0), sampling(cfg_weight=4.0)]
    changed += [sampling(exaggeration=0.1), sampling(exaggeration=1.5)]
    sounds = [await spoken(english, OPENING, sampling=each) for each in changed]
    sounds.append(await spoken(english, OPENING, voice=voice, sampling=sampling()))

    assert len(sounds) == len(set(sounds))


async def test_two_hundred_utterances_in_a_row_leave_memory_flat(
    chatterbox: Both, client: Client, english: Any
) -> None:
    """After the first 50 utterances of mixed voices and settings, resident memory grows by less than 2 %."""
    voices = ["default", *(made.voice.id for made in await asyncio.to_thread(voices_of, client, 3))]
    resident = []
    for number in range(200):
        guidance = 0.5 * (number % 2)
        settings = sampling(number, max_segment_tokens=2, exaggeration=(number % 10) / 5, cfg_weight=guidance)
        await spoken(english, f"Number {number}.", voice=voices[number % len(voices)], sampling=settings)
        if number % 10 == 9:
            resident.append(chatterbox.residency().process_bytes)
    settled, last = max(resident[:5]), max(resident[-5:])

    assert last < 1.02 * settled, [each >> 10 for each in resident]
    assert {} == busy(chatterbox.residency())
