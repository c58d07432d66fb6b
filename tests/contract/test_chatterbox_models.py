"""Chatterbox Multilingual and Turbo as real services: they speak, make voices, and refuse what they have not."""

from collections.abc import Iterator

import pytest

from greenroom.memory.v1 import residency_pb2
from greenroom_client.errors import InvalidRequestError
from greenroom_client.sync import Client
from tests.fakes.chatterbox_process import SPEECH, away, eventually, placed, serving, tiny_service
from tests.fakes.recordings import recording, sound_file
from tools.both import Both


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Both]]:
    """Run one service of each of the other models; they start side by side."""
    cache_dir = tmp_path_factory.getbasetemp()
    services = {model: tiny_service(tmp_path_factory.mktemp(model), cache_dir, model) for model in MODELS}
    with serving(services.values()):
        yield services


MODELS = ("multilingual", "turbo")


def sent_away(both: Both) -> bool:
    """Send speech's modules to disk, and let them come back when they are needed; say whether they went."""
    placed(both, SPEECH, residency_pb2.TIER_DISK)
    went = eventually(lambda: away(both.residency(), SPEECH))
    placed(both, SPEECH, residency_pb2.TIER_UNSPECIFIED)
    return went


def check_refused(client: Client, reason: str, text: str = "Hello.", **fields: object) -> None:
    """Expect a text with a configuration to be refused."""
    with pytest.raises(InvalidRequestError) as raised:
        client.synthesize(text, **fields).collect()  # type: ignore[arg-type]  # Fields of the configuration.
    assert reason == raised.value.reason


def test_multilingual_speaks_several_languages_and_refuses_others(others: dict[str, Both]) -> None:
    """Languages are spoken, a voice is made with its own, moves change nothing, and Klingon is refused."""
    both = others["multilingual"]
    with Client(both.speech_address) as client:
        (model,) = client.info().models
        french, german = (client.synthesize("Nation", language=tag, seed=1).collect() for tag in ("fr", "de"))
        voice = client.create_voice(sound_file(recording(5.0)), languages=("fr",)).voice
        own = client.synthesize("Nation", voice=voice.id, seed=1).collect()
        went = sent_away(both)
        again = client.synthesize("Nation", language="fr", seed=1).collect()
        check_refused(client, "BAD_LANGUAGE", language="tlh")
        check_refused(client, "BAD_CONFIG", top_k=5)

    assert 23 == len(model.languages) + len(model.missing_languages)
    assert {"en", "fr", "de"} <= set(model.languages)
    assert min(french.result.speech_tokens, german.result.speech_tokens, own.result.speech_tokens) > 0
    assert ("fr", voice.id) == (own.config.language, own.config.voice)
    assert own.data != french.data
    assert went
    assert french.data == again.data


def test_turbo_speaks_with_tags_and_without_guidance(others: dict[str, Both]) -> None:
    """A tag is more than its absence; a voice is made; moves change nothing; guidance and French are refused."""
    both = others["turbo"]
    with Client(both.speech_address) as client:
        (model,) = client.info().models
        plain = client.synthesize("That is funny.", seed=1).collect()
        laughing = client.synthesize("That is funny [laugh].", seed=1).collect()
        voice = client.create_voice(sound_file(recording(6.0))).voice
        own = client.synthesize("That is funny.", voice=voice.id, seed=1).collect()
        went = sent_away(both)
        again = client.synthesize("That is funny.", seed=1).collect()
        check_refused(client, "BAD_CONFIG", cfg_weight=0.5)
        check_refused(client, "BAD_LANGUAGE", language="fr")

    assert "[laugh]" in model.tags
    assert {"cfg_weight", "exaggeration", "min_p"}.isdisjoint(model.default_sampling)
    assert min(plain.result.speech_tokens, laughing.result.speech_tokens, own.result.speech_tokens) > 0
    assert own.data != plain.data
    assert went
    assert plain.data == again.data
