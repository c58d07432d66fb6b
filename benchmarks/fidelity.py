"""How far our networks' results are from what upstream's own functions return: the same weights, tokens and noise."""

from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.product_speech import TEXT
from benchmarks.reference_tone import reference_samples
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.upstream import quiet
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN, MelPrompt
from tts_service.speech.random_source import UpstreamRandom
from tts_service.speech.sampling import default_sampling
from tts_service.speech.speech_tokens import TokenRequest
from tts_service.speech.text_tokens import text_tokens, text_vocabulary
from tts_service.speech.token_backbone import run_backbone
from tts_service.speech.token_cache import KeyValueCache
from tts_service.speech.token_prompt import TokenVoice, prompt_embeddings, token_embedding
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import VoiceEncoding, encoding_rules
from tts_service.speech.whole_segment import upstream_mel, upstream_waveform
from tts_service.speech.whole_utterance import SpeechNetworks, whole_utterance
from tts_service.types import ModuleName

FORCED_TOKENS: Final = 60
MEL_TOKENS: Final = 75
SEED: Final = 7

Row = dict[str, float]
"""`error`, the largest difference, and `peak`, the largest value of upstream's."""


class Comparison:
    """Upstream's object and our networks, on one device, with the same weights. The voice is upstream's own."""

    def __init__(self, theirs: Any, ours: SpeechNetworks, model: ChatterboxModel) -> None:
        self._theirs, self._ours, self._model = theirs, ours, model
        self._device = torch.device(theirs.device)
        self._voice = TokenVoice.from_upstream(vars(theirs.conds.t3))
        self._prompt = MelPrompt.from_upstream(theirs.conds.gen)

    def __repr__(self) -> str:
        return f"<Comparison {self._model} on {self._device}>"

    def rows(self) -> dict[str, Row]:
        """Return every comparison but the conditionals', by name. Upstream's `generate` comes last: it leaves hooks."""
        weights = [0.0] if self._model is ChatterboxModel.TURBO else [0.5, 0.0]
        mel, mel_row = self._mel()
        return {
            **{f"T3 logits, guidance {weight:g}": self._logits(weight) for weight in weights},
            "flow mel": mel_row,
            "vocoder waveform": self._waveform(mel),
            "whole utterance": self._utterance(),
        }

    def _text(self) -> torch.Tensor:
        vocabulary = text_vocabulary(self._theirs.t3.hp, self._model)
        tokens = text_tokens(
            TEXT, model=self._model, tokenizer=self._theirs.tokenizer, language="en", vocabulary=vocabulary
        )
        return tokens.to(self._device)

    def _logits(self, cfg_weight: float) -> Row:
        """Compare the logits of upstream's loop with ours, which is given upstream's tokens."""
        tokens, theirs = self._upstream_logits(cfg_weight)
        sampling = default_sampling(self._model)
        t3, cache = self._ours.t3, KeyValueCache()
        with torch.inference_mode():
            embeddings, _ = prompt_embeddings(
                t3, self._voice, self._text(), exaggeration=sampling.exaggeration, cfg_weight=cfg_weight
            )
            rows = len(embeddings)
            ours = [t3.speech_head(run_backbone(t3, embeddings, cache)[0])]
            for position, token in enumerate(tokens[:-1], start=1):
                embeddings = token_embedding(t3, token, position=position, rows=rows)
                ours.append(t3.speech_head(run_backbone(t3, embeddings, cache)[0]))
        return difference(theirs[: len(ours), :rows], torch.stack(ours))

    def _upstream_logits(self, cfg_weight: float) -> tuple[list[int], torch.Tensor]:
        """Return what upstream's loop says, and the speech head's output (steps, rows, vocabulary) on the way."""
        seen: list[torch.Tensor] = []

        def keep(_module: object, _inputs: object, output: torch.Tensor) -> None:
            seen.append(output.reshape(output.shape[0], -1, output.shape[-1])[:, -1].clone())

        t3, text = self._theirs.t3, self._text()
        hook = t3.speech_head.register_forward_hook(keep)
        torch.manual_seed(SEED)
        with quiet():
            if self._model is ChatterboxModel.TURBO:
                said = t3.inference_turbo(self._theirs.conds.t3, text[None], max_gen_len=FORCED_TOKENS)
            else:
                said = t3.inference(
                    t3_cond=self._theirs.conds.t3,
                    text_tokens=text.repeat(2, 1),
                    max_new_tokens=FORCED_TOKENS,
                    cfg_weight=cfg_weight,
                )
        hook.remove()
        tokens: list[int] = said[0].tolist()
        return tokens, torch.stack(seen[: len(tokens)])

    def _mel(self) -> tuple[torch.Tensor, Row]:
        drawn = torch.Generator().manual_seed(SEED)
        tokens = torch.randint(CODEBOOK_TOKENS, (MEL_TOKENS,), generator=drawn)
        torch.manual_seed(SEED)
        with quiet():
            theirs = self._theirs.s3gen.flow_inference(
                tokens.to(self._device), ref_dict=dict(self._theirs.conds.gen), finalize=True
            )
        torch.manual_seed(SEED)
        ours = upstream_mel(self._ours.flow, self._prompt, tokens.tolist(), UpstreamRandom(device=self._device))
        return theirs[0], difference(theirs[0], ours)

    def _waveform(self, mel: torch.Tensor) -> Row:
        torch.manual_seed(SEED)
        theirs, _ = self._theirs.s3gen.mel2wav.inference(speech_feat=mel[None])
        torch.manual_seed(SEED)
        ours = upstream_waveform(self._ours.vocoder, mel, UpstreamRandom(device=self._device))
        return difference(theirs[0], ours)

    def _utterance(self) -> Row:
        multilingual = self._model is ChatterboxModel.MULTILINGUAL
        torch.manual_seed(SEED)
        with quiet():
            theirs = self._theirs.generate(TEXT, **({"language_id": "en"} if multilingual else {}))
        request = TokenRequest(
            model=self._model,
            text=self._text().cpu(),
            voice=self._voice,
            sampling=default_sampling(self._model),
            watch_loops=False,
        )
        torch.manual_seed(SEED)
        ours = whole_utterance(self._ours, request, self._prompt, UpstreamRandom(device=self._device))
        return difference(theirs[0], ours)


def conditionals_rows(
    theirs: Any, encoders: dict[ModuleName, Any], model: ChatterboxModel, path: Path
) -> dict[str, Row]:
    """Compare the voice that upstream makes of a recording with ours; upstream's object has it afterwards."""
    with quiet():
        theirs.prepare_conditionals(str(path))
    expected = VoiceConditionals.from_upstream(vars(theirs.conds.t3), theirs.conds.gen).tensors()
    encoding = VoiceEncoding(reference_samples(path), encoding_rules(model))
    while needed := encoding.next_modules:
        encoding.step({name: encoders[name] for name in needed})
    made = encoding.voice().tensors()
    assert FRAMES_PER_TOKEN * len(made["flow.tokens"]) == len(made["flow.mel"])
    return {f"voice: {name}": difference(expected[name], made[name]) for name in expected}


def difference(theirs: torch.Tensor, ours: torch.Tensor) -> Row:
    """Return how far ours is from theirs; infinitely, where even the shapes differ."""
    theirs, ours = theirs.detach().float().cpu(), ours.detach().float().cpu()
    peak = float(theirs.abs().max())
    if theirs.shape != ours.shape:
        return {"error": float("inf"), "peak": peak}
    return {"error": float((theirs - ours).abs().max()), "peak": peak}
