"""What T3 reads before it speaks: the voice, the text, and the token that starts speech.

English and Multilingual read the start token twice. That is upstream's doing, and the weights are used to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from tts_service.models.chatterbox.upstream import upstream
from tts_service.speech.token_backbone import T3Network


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVoice:
    """T3's part of a voice, on any device: `speaker` (256,) float32, `tokens` (prompt tokens,) int64.

    How lively it speaks is a request's setting and no part of it.
    """

    speaker: torch.Tensor
    tokens: torch.Tensor

    @classmethod
    def from_upstream(cls, conditionals: Mapping[str, Any]) -> "TokenVoice":
        """Return T3's part of what `conds.pt` holds under "t3" (upstream's `T3Cond` as a dictionary)."""
        return cls(
            speaker=conditionals["speaker_emb"].reshape(-1).float(),
            tokens=conditionals["cond_prompt_speech_tokens"].reshape(-1).long(),
        )


def prompt_embeddings(
    t3: T3Network, voice: TokenVoice, text: torch.Tensor, *, exaggeration: float, cfg_weight: float
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return the embeddings (rows, positions, channels) of everything before the first token, and the text's span.

    `text` (text tokens,). With guidance there are two rows, and the second does not see the text.
    """
    rows = 2 if cfg_weight > 0 else 1
    weight = t3.speech_head.weight
    text_rows = text.to(weight.device).expand(rows, -1)
    start_rows = torch.full_like(text_rows[:, :1], t3.hp.start_speech_token)
    embeddings, voice_positions = t3.prepare_input_embeds(
        t3_cond=_conditioning(voice, exaggeration, weight),
        text_tokens=text_rows,
        speech_tokens=start_rows,
        cfg_weight=cfg_weight,
    )
    span = (voice_positions, voice_positions + text.shape[0])
    if t3.is_gpt:
        return embeddings, span
    again = token_embedding(t3, t3.hp.start_speech_token, position=0, rows=rows)
    return torch.cat([embeddings, again], dim=1), span


def voice_embeddings(t3: T3Network, voice: TokenVoice, exaggeration: float) -> torch.Tensor:
    """Return the voice's part of the embeddings (1, positions, channels), which no text changes."""
    voiced: torch.Tensor = t3.prepare_conditioning(_conditioning(voice, exaggeration, t3.speech_head.weight))
    return voiced


def embeddings_after(
    t3: T3Network, voiced: torch.Tensor, text: torch.Tensor, *, cfg_weight: float
) -> tuple[torch.Tensor, tuple[int, int]]:
    """Return what `prompt_embeddings` does, from the voice's part that is there already."""
    rows = 2 if cfg_weight > 0 else 1
    said = t3.text_emb(text.to(voiced.device)).expand(rows, -1, -1)
    if not t3.is_gpt:
        if rows > 1:
            said = torch.stack([said[0], torch.zeros_like(said[0])])
        said = said + t3.text_pos_emb.emb.weight[: len(text)]
    start = token_embedding(t3, t3.hp.start_speech_token, position=0, rows=rows)
    starts = [start] if t3.is_gpt else [start, start]
    voice_positions = voiced.shape[1]
    span = (voice_positions, voice_positions + len(text))
    return torch.cat([voiced.expand(rows, -1, -1), said, *starts], dim=1), span


def token_embedding(t3: T3Network, token: int, *, position: int, rows: int) -> torch.Tensor:
    """Return a speech token's embedding (rows, 1, channels) at a position of the speech."""
    embedding: torch.Tensor = t3.speech_emb.weight[token]
    if not t3.is_gpt:
        embedding = embedding + t3.speech_pos_emb.emb.weight[position]
    return embedding.expand(rows, 1, -1)


def _conditioning(voice: TokenVoice, exaggeration: float, weight: torch.Tensor) -> Any:
    """Return upstream's `T3Cond`, new for every request, because upstream writes into it."""
    return upstream("models.t3.modules.cond_enc").T3Cond(
        speaker_emb=voice.speaker[None].to(weight),
        cond_prompt_speech_tokens=voice.tokens[None].to(weight.device),
        emotion_adv=weight.new_full((1, 1, 1), exaggeration),
    )
