"""What is planted in T3's random weights, so that what it says has the course of speech.

Rules
* Every speech token belongs to one of STATES states, each with a direction of its own in the channels. A token's
  embedding holds its state's direction, and the head prefers tokens of the next state: the states count the tokens of
  an utterance. The start token leads to any of the first states, so that lengths differ.
* The stop token's logit is far below all others at first, and rises with the states from STOP_STATE on.
* All other tokens outside the codebook are suppressed, by a direction that every speech token holds.
* Multilingual's aligned heads look at the text's last token, so that its guard lets an utterance end.
* A head of the last layer looks at the exaggeration, where there is one, and leans the choice within a state by it:
  else the normalisation hides how large that number is, and other values give the same speech.
* The layers write nothing else into these directions, which are orthogonal to each other and (for GPT-2's
  normalisation) to the mean. All else is random, and small beside the embeddings.
Utterances are of 25 to 45 tokens, whatever the text is.
"""

import math
import re
from typing import Any, Final

import torch

from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.synthetic_values import generator
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS, START_TOKEN, STOP_TOKEN

STATES: Final = 48
FIRST_STATES: Final = 12
STOP_STATE: Final = 30

NEXT_LOGIT: Final = 10.0
"""Of the tokens of the next state, 137 among 6561 whose logits are random: 98 % of the choices go there."""

EARLY_STOP_LOGIT: Final = -12.0
STOP_LOGITS: Final = (2.0, 24.0)
"""At STOP_STATE and at the last; the choice is even at about 16, which is all tokens' together."""

SUPPRESSED_LOGIT: Final = -30.0

WRITE_GAIN: Final = 0.5
"""Of what all layers together write, beside embeddings of 1."""

POSITION_DEVIATION: Final = 0.1
ALIGNED_HEADS: Final = {12: 15, 13: 11, 9: 2}
"""Layer and head, of upstream's `alignment_stream_analyzer.py`."""

ALIGNED_SCORE: Final = 14.0
"""Of the text's last token before the softmax; all others have 0."""

LIVELY_AMPLITUDE: Final = 0.5
"""Of an exaggeration of 1, beside embeddings of 1: as much as all layers write, so that what is left of it after the
normalisation goes from 0 to nearly 1 with it."""

LIVELY_SCORE: Final = 10.0
LIVELY_LOGIT: Final = 2.0
"""The most that a token's choice gains or loses by the exaggeration, as a standard deviation over tokens."""

_LIVELY_HEAD: Final = 0
_EXTRA_DIRECTIONS: Final = 5
_OUTPUTS_FIRST: Final = ("o_proj.weight", "down_proj.weight")
_OUTPUTS_LAST: Final = (".c_proj.weight", ".c_proj.bias")
_POSITIONS: Final = ("pos_emb.emb.weight", "wpe.weight")


class PlantedT3:
    """Plants T3's weights one at a time; `hyper_parameters` and `backbone` are upstream's `hp` and `cfg`."""

    def __init__(self, model: ChatterboxModel, *, backbone: Any, seed: int) -> None:
        self._is_multilingual = model is ChatterboxModel.MULTILINGUAL
        self._channels: int = backbone.hidden_size
        self._head_channels = self._channels // backbone.num_attention_heads
        self._layers: int = backbone.num_hidden_layers
        random = torch.randn(self._channels, STATES + _EXTRA_DIRECTIONS, generator=generator(seed, "t3", "directions"))
        random[:, 0] = 1.0
        directions = torch.linalg.qr(random)[0].T.contiguous()
        self._directions = directions
        self._always, self._text_end, self._lively, self._leaning = directions[1:_EXTRA_DIRECTIONS]
        self._states = directions[_EXTRA_DIRECTIONS:]
        self._leanings = torch.randn(CODEBOOK_TOKENS, generator=generator(seed, "t3", "leanings"))
        order = torch.randperm(CODEBOOK_TOKENS, generator=generator(seed, "t3", "states"))
        self._state_of = order % STATES

    def __repr__(self) -> str:
        return f"<PlantedT3 {self._channels} channels | {STATES} states>"

    @property
    def _unit(self) -> float:
        """What a direction of an embedding comes to, in the normalised channels that the head sees."""
        rest = 1 - (STATES + _EXTRA_DIRECTIONS) / self._channels
        return math.sqrt(self._channels / (2 + rest + POSITION_DEVIATION**2 + WRITE_GAIN**2 / 2))

    def planted(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Return a weight as it is to be, from its random values (which are changed)."""
        if name.startswith("speech_head."):
            return self._head(name, values)
        if name == "speech_emb.weight":
            return self._speech_embedding(values)
        if name == "text_emb.weight":
            return self._text_embedding(values)
        if name.endswith(_POSITIONS):
            return self._without_directions(values) * POSITION_DEVIATION
        if name == "cond_enc.emotion_adv_fc.weight":
            planted: torch.Tensor = LIVELY_AMPLITUDE * math.sqrt(self._channels) * self._lively[:, None]
            return planted
        if name.endswith(_OUTPUTS_FIRST):
            return self._leaned(name, self._written(values.T).T.contiguous())
        if name.endswith(_OUTPUTS_LAST):
            return self._written(values)
        return self._attention(name, values)

    def _without_directions(self, values: torch.Tensor) -> torch.Tensor:
        """Return values, shape (..., channels), without their parts along the directions."""
        kept: torch.Tensor = values - (values @ self._directions.T) @ self._directions
        return kept

    def _written(self, values: torch.Tensor) -> torch.Tensor:
        return self._without_directions(values) * (WRITE_GAIN / math.sqrt(2 * self._layers))

    def _speech_embedding(self, values: torch.Tensor) -> torch.Tensor:
        amplitude = math.sqrt(self._channels)
        planted: torch.Tensor = self._without_directions(values) + amplitude * self._always
        planted[:CODEBOOK_TOKENS] += amplitude * self._states[self._state_of]
        planted[START_TOKEN] += amplitude * self._states[:FIRST_STATES].sum(dim=0) / math.sqrt(FIRST_STATES)
        return planted

    def _text_embedding(self, values: torch.Tensor) -> torch.Tensor:
        planted = self._without_directions(values)
        planted[0] += math.sqrt(self._channels) * self._text_end
        return planted

    def _head(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name.endswith("bias"):
            return torch.zeros_like(values)
        values[:CODEBOOK_TOKENS] += (
            NEXT_LOGIT / self._unit * self._states[self._state_of - 1] * (self._state_of > 0).unsqueeze(1)
        )
        values[:CODEBOOK_TOKENS] += LIVELY_LOGIT / self._unit * self._leanings[:, None] * self._leaning
        values[CODEBOOK_TOKENS:] = SUPPRESSED_LOGIT / self._unit * self._always
        values[STOP_TOKEN] = self._stop_logits() @ self._states / self._unit
        return values

    def _stop_logits(self) -> torch.Tensor:
        logits = torch.full((STATES,), EARLY_STOP_LOGIT)
        logits[STOP_STATE:] = torch.linspace(*STOP_LOGITS, STATES - STOP_STATE)
        return logits

    def _attention(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Plant queries that every speech token makes, and keys of the text's last token or of the exaggeration."""
        found = re.search(r"layers\.(\d+)\.self_attn\.([qkv])_proj\.weight$", name)
        if found is None:
            return values
        layer, kind = int(found[1]), found[2]
        if self._is_multilingual and layer in ALIGNED_HEADS and kind != "v":
            self._look(values, ALIGNED_HEADS[layer], self._always if kind == "q" else self._text_end, ALIGNED_SCORE)
        if layer == self._layers - 1 and kind == "v":
            self._head_rows(values, _LIVELY_HEAD)[0] = self._lively / math.sqrt(self._channels)
        elif layer == self._layers - 1:
            self._look(values, _LIVELY_HEAD, self._always if kind == "q" else self._lively, LIVELY_SCORE)
        return values

    def _look(self, values: torch.Tensor, head: int, direction: torch.Tensor, wanted: float) -> None:
        """Let a head's queries or keys see a direction and nothing else, for a score of `wanted` where they meet."""
        rows = self._head_rows(values, head)
        rows.zero_()
        # The rotation is slowest in the last channel of a half, and does not reach a quarter turn in an utterance.
        score = wanted * math.sqrt(self._head_channels)
        rows[self._head_channels // 2 - 1] = math.sqrt(score) / self._unit * direction

    def _head_rows(self, values: torch.Tensor, head: int) -> torch.Tensor:
        return values[head * self._head_channels : (head + 1) * self._head_channels]

    def _leaned(self, name: str, values: torch.Tensor) -> torch.Tensor:
        """Let the last layer's head write what it saw of the exaggeration."""
        if name.endswith(f"layers.{self._layers - 1}.self_attn.o_proj.weight"):
            values[:, _LIVELY_HEAD * self._head_channels] = math.sqrt(self._channels) * self._leaning
        return values
