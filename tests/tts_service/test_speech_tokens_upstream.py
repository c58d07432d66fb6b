"""Our decode loop against upstream's: the same logits, the same tokens, the same quirks."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.upstream_t3 import upstream_twin
from tests.fakes.tiny_t3 import STOP, tiny_t3, tiny_text, tiny_voice
from tests.fakes.upstream_tokens import our_run, upstream_conditioning, upstream_run
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import TokenFinish, TokenRequest
from tts_service.speech.token_backbone import run_backbone
from tts_service.speech.token_cache import KeyValueCache
from tts_service.speech.token_prompt import embeddings_after, prompt_embeddings, token_embedding, voice_embeddings

ENGLISH, MULTILINGUAL, TURBO = ChatterboxModel
TOLERANCE = 1e-4
"""The project's bound in fp32; logits of these networks reach 10."""

GRID = [
    (ENGLISH, {}),
    (ENGLISH, {"cfg_weight": 0.0}),
    (ENGLISH, {"cfg_weight": 1.3, "top_p": 0.8, "temperature": 1.4, "exaggeration": 1.7}),
    (ENGLISH, {"min_p": 0.0, "repetition_penalty": 1.0, "temperature": 1.0, "exaggeration": 0.0}),
    (MULTILINGUAL, {}),
    (MULTILINGUAL, {"cfg_weight": 0.0}),
    (MULTILINGUAL, {"cfg_weight": 0.2, "top_p": 0.7, "repetition_penalty": 1.1}),
    (TURBO, {}),
    (TURBO, {"top_k": 30, "temperature": 1.0}),
    (TURBO, {"top_k": 0, "top_p": 1.0, "repetition_penalty": 1.0}),
]


def request(model: ChatterboxModel, settings: dict[str, Any], *, text: torch.Tensor | None = None) -> TokenRequest:
    """Return a request without our own guards."""
    sampling = replace(default_sampling(model), **{"max_segment_tokens": 40, **settings})
    text = tiny_text(model) if text is None else text
    return TokenRequest(model=model, text=text, voice=tiny_voice(model), sampling=sampling, watch_loops=False)


def without_stop(tokens: list[int], model: ChatterboxModel) -> list[int]:
    """Return tokens as upstream's loop gives them: Turbo's leaves the stop token at the end out."""
    return tokens[:-1] if model is TURBO and tokens[-1] == STOP else tokens


@pytest.mark.parametrize(("model", "settings"), GRID)
@pytest.mark.parametrize("seed", [1, 2])
def test_tokens_and_logits_equal_upstreams(model: ChatterboxModel, settings: dict[str, Any], seed: int) -> None:
    """For the same random state, every token is upstream's, and so are the logits on the way to 1e-4."""
    t3, asked = tiny_t3(model), request(model, settings)
    theirs, (ours, _) = upstream_run(t3, asked, seed), our_run(t3, asked, seed)
    # Without guidance we compute one row, where upstream computes the same one twice.
    rows = ours.logits.shape[1]

    assert theirs.tokens == without_stop(ours.tokens, model)
    assert (1 if model is TURBO or settings.get("cfg_weight") == 0 else 2) == rows
    assert 20 < len(set(ours.tokens))
    assert (theirs.logits[:, :rows] - ours.logits[: len(theirs.logits)]).abs().max() < TOLERANCE


@pytest.mark.parametrize("model", ChatterboxModel)
@pytest.mark.parametrize("guided", [False, True])
def test_logits_token_by_token_equal_those_of_one_pass(model: ChatterboxModel, guided: bool) -> None:  # noqa: FBT001  # A parameter of the test.
    """Teacher-forced through the cache or all at once by transformers' model: the last logits agree."""
    t3, asked = tiny_t3(model), request(model, {} if model is TURBO or guided else {"cfg_weight": 0.0})
    forced = [17, 4299, 6560, 17, 0, 2024]
    with torch.inference_mode():
        prompt, _ = prompt_embeddings(
            t3, asked.voice, asked.text, exaggeration=0.4, cfg_weight=asked.sampling.cfg_weight
        )
        rows = len(prompt)
        embeddings = [prompt]
        embeddings += [token_embedding(t3, each, position=at, rows=rows) for at, each in enumerate(forced, start=1)]
        cache = KeyValueCache()
        ours = [t3.speech_head(run_backbone(t3, each, cache)[0]) for each in embeddings]
        hidden = upstream_twin(t3).tfmr(inputs_embeds=torch.cat(embeddings, dim=1), use_cache=False).last_hidden_state
        theirs = t3.speech_head(hidden[:, prompt.shape[1] - 1 :])

    assert (torch.stack(ours, dim=1) - theirs).abs().max() < TOLERANCE


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model", ChatterboxModel)
def test_speech_that_stops_by_itself_stops_with_upstreams(model: ChatterboxModel, seed: int) -> None:
    """With a stop token that grows likelier, both end at the same one."""
    t3 = tiny_t3(model, bias={STOP: -12.0 if model is TURBO else 0.0}, rise={STOP: 0.9})
    asked = request(model, {"max_segment_tokens": 200, "repetition_penalty": 1.0})
    theirs, (ours, stream) = upstream_run(t3, asked, seed), our_run(t3, asked, seed)

    assert theirs.tokens == without_stop(ours.tokens, model)
    assert stream.finish in {TokenFinish.STOPPED, TokenFinish.FORCED}
    assert 5 < len(ours.tokens) < 200


@pytest.mark.parametrize(("model", "extra"), [(ENGLISH, 0), (MULTILINGUAL, 0), (TURBO, 1)])
def test_speech_without_a_stop_ends_at_upstreams_limit(model: ChatterboxModel, extra: int) -> None:
    """Turbo makes one token more than its limit, as upstream does."""
    t3, asked = tiny_t3(model, bias={STOP: -50.0}), request(model, {"max_segment_tokens": 12})
    theirs, (ours, stream) = upstream_run(t3, asked, 3), our_run(t3, asked, 3)

    assert theirs.tokens == ours.tokens
    assert 12 + extra == len(ours.tokens)
    assert TokenFinish.TOKEN_LIMIT is stream.finish


def test_turbo_does_not_look_at_its_first_token() -> None:
    """A stop token in the first place is passed over, and the one in the second ends the speech."""
    t3, asked = tiny_t3(TURBO, bias={STOP: 60.0}), request(TURBO, {})
    theirs, (ours, stream) = upstream_run(t3, asked, 1), our_run(t3, asked, 1)

    assert [STOP] == theirs.tokens
    assert [STOP, STOP] == ours.tokens
    assert TokenFinish.STOPPED is stream.finish


def test_turbo_penalises_the_start_token_once() -> None:
    """The start token is penalised before the first token and not after it, so that it comes as upstream has it."""
    t3, asked = tiny_t3(TURBO, bias={6561: 9.0}), request(TURBO, {"repetition_penalty": 1.8, "top_k": 0, "top_p": 1.0})
    theirs, (ours, _) = upstream_run(t3, asked, 5), our_run(t3, asked, 5)

    assert theirs.tokens == ours.tokens
    assert 6561 in ours.tokens[1:]


@pytest.mark.parametrize("model", [ENGLISH, MULTILINGUAL])
def test_llama_stops_at_its_first_token(model: ChatterboxModel) -> None:
    """A stop token in the first place ends English; in Multilingual it is suppressed until the text is spoken."""
    t3, asked = tiny_t3(model, bias={STOP: 60.0}), request(model, {})
    theirs, (ours, _) = upstream_run(t3, asked, 1), our_run(t3, asked, 1)

    assert theirs.tokens == ours.tokens
    assert (ours.tokens[0] == STOP) == (model is ENGLISH)


def test_multilingual_ends_after_one_token_twice() -> None:
    """The same token twice forces the stop, in upstream's loop and in ours."""
    t3, asked = tiny_t3(MULTILINGUAL, bias={7: 60.0}), request(MULTILINGUAL, {})
    theirs, (ours, stream) = upstream_run(t3, asked, 1), our_run(t3, asked, 1)

    assert [7, 7, STOP] == theirs.tokens == ours.tokens
    assert TokenFinish.FORCED is stream.finish


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_multilingual_speaks_short_text(count: int) -> None:
    """Five text tokens or fewer crash upstream's analyzer; here they are spoken."""
    t3 = tiny_t3(MULTILINGUAL, bias={STOP: -50.0})
    asked = request(MULTILINGUAL, {"max_segment_tokens": 30}, text=tiny_text(MULTILINGUAL, count))
    ours, stream = our_run(t3, asked, 1)

    assert stream.finish in {TokenFinish.TOKEN_LIMIT, TokenFinish.FORCED}
    assert 3 <= len(ours.tokens)


@pytest.mark.parametrize(("model", "count"), [(ENGLISH, 220), (TURBO, 130)])
def test_long_speech_stays_equal(model: ChatterboxModel, count: int) -> None:
    """Across the border of the cache's blocks, not one token differs."""
    asked = request(model, {"max_segment_tokens": count})
    t3 = tiny_t3(model)

    assert upstream_run(t3, asked, 9).tokens == without_stop(our_run(t3, asked, 9)[0].tokens, model)


@pytest.mark.parametrize("model", ChatterboxModel)
@pytest.mark.parametrize("guided", [False, True])
def test_prompt_from_a_voice_that_was_read_before_is_the_same(model: ChatterboxModel, guided: bool) -> None:  # noqa: FBT001  # A parameter of the test.
    """Bit for bit what upstream makes of voice and text in one go, however often the voice's part is used."""
    t3, asked = tiny_t3(model), request(model, {})
    weight = 0.5 if guided and model is not TURBO else 0.0
    expected = prompt_embeddings(t3, asked.voice, asked.text, exaggeration=0.8, cfg_weight=weight)
    voiced = voice_embeddings(t3, asked.voice, 0.8)
    found = [embeddings_after(t3, voiced, asked.text, cfg_weight=weight) for _ in range(2)]

    assert all(torch.equal(expected[0], each[0]) for each in found)
    assert all(expected[1] == each[1] for each in found)


def test_upstreams_conditioning_is_what_we_give_it() -> None:
    """The embeddings before the first token are upstream's, with the start token twice for a Llama."""
    t3, asked = tiny_t3(ENGLISH), request(ENGLISH, {})
    theirs, voice_positions = t3.prepare_input_embeds(
        t3_cond=upstream_conditioning(asked.voice, 0.8),
        text_tokens=asked.text.repeat(2, 1),
        speech_tokens=torch.full((2, 1), 6561),
        cfg_weight=0.5,
    )
    ours, span = prompt_embeddings(t3, asked.voice, asked.text, exaggeration=0.8, cfg_weight=0.5)

    assert torch.equal(theirs, ours[:, :-1])
    assert torch.equal(ours[:, -2], ours[:, -1])
    assert (voice_positions, voice_positions + 20) == span
