"""One voice in one safetensors file, with what is known about it in the header, and a sum over both.

Nothing in a file is trusted: the sum tells damage, and shapes and values are checked, so that a file from anywhere can
stand in the folder. No pickle is read.
"""

import hashlib
import json
from dataclasses import dataclass, replace
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from tts_service.models.chatterbox.s3gen_network import MEL_BANDS, SPEAKER_VALUES
from tts_service.models.chatterbox.vocabulary import CODEBOOK_TOKENS
from tts_service.speech.mel_flow import FRAMES_PER_TOKEN
from tts_service.speech.session_config import VoiceFacts
from tts_service.speech.voice_conditionals import VoiceConditionals

FORMAT: Final = 1
"""Rises when files of an older release must not be read any more."""

METADATA_KEY: Final = "greenroom_voice"
"""One key for all: safetensors writes several in any order, and the same voice would not give the same file."""

SPEAKER_EMBEDDING_VALUES: Final = 256
"""Of the voice encoder's embedding, which T3 takes."""

MAX_PROMPT_TOKENS: Final = {"t3.tokens": 375, "flow.tokens": 250}
"""Turbo's T3 takes 15 s of a reference, every flow 10 s; no voice of upstream's has more."""

LATEST_UNIX_SECONDS: Final = 253_402_300_799.0
"""The end of the year 9999, beyond which a Timestamp on the wire cannot go."""

_HEADER_LENGTH_BYTES: Final = 8


class BadVoiceFileError(Exception):
    """A file is damaged, or no voice; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVoice:
    """A voice with what is known about it; `weights` names those that it was made with."""

    facts: VoiceFacts
    weights: str
    conditionals: VoiceConditionals


def voice_bytes(voice: StoredVoice) -> bytes:
    """Return a voice as a file."""
    about = _about(voice)
    tensors = {name: tensor.contiguous() for name, tensor in voice.conditionals.tensors().items()}
    document = {"sha256": content_sum(voice), "voice": about}
    return save(tensors, metadata={METADATA_KEY: json.dumps(document, ensure_ascii=False, sort_keys=True)})


def read_voice(data: bytes) -> StoredVoice:
    """Return the voice in a file. Raises BadVoiceFileError."""
    try:
        document = json.loads(_metadata(data)[METADATA_KEY])
        conditionals = VoiceConditionals.from_tensors(load(data))
        voice = _voice(document["voice"], conditionals)
        wanted = document["sha256"]
        found = content_sum(voice)
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError, SafetensorError) as error:
        raise BadVoiceFileError(f"is no voice of this version ({str(error)[:200]!r})") from error
    if wanted != found:
        raise BadVoiceFileError("is damaged: its content does not have its sum")
    problem = voice_problem(conditionals)
    if problem:
        raise BadVoiceFileError(problem)
    return replace(voice, facts=replace(voice.facts, content_sha256=wanted))


def content_sum(voice: StoredVoice) -> str:
    """Return the SHA-256, in hexadecimal, of all that is stored of a voice."""
    total = hashlib.sha256(json.dumps(_about(voice), sort_keys=True).encode())
    for name, tensor in sorted(voice.conditionals.tensors().items()):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        total.update(tensor.contiguous().numpy().tobytes())
    return total.hexdigest()


def voice_problem(voice: VoiceConditionals) -> str:
    """Return what makes a voice's numbers impossible; empty if they can be spoken with."""
    tensors = voice.tensors()
    for name, most in MAX_PROMPT_TOKENS.items():
        tokens = tensors[name]
        if tokens.dtype is not torch.int64 or tokens.ndim != 1 or not 0 < len(tokens) <= most:
            return f"{name}: must be 1 to {most} whole numbers"
        if int(tokens.min()) < 0 or int(tokens.max()) >= CODEBOOK_TOKENS:
            return f"{name}: has speech tokens beyond {CODEBOOK_TOKENS - 1}"
    shapes = {
        "t3.speaker": (SPEAKER_EMBEDDING_VALUES,),
        "flow.speaker": (SPEAKER_VALUES,),
        "flow.mel": (FRAMES_PER_TOKEN * len(voice.prompt.tokens), MEL_BANDS),
    }
    for name, shape in shapes.items():
        if tensors[name].dtype is not torch.float32 or tuple(tensors[name].shape) != shape:
            return f"{name}: must be float32 of shape {shape}, is {tensors[name].dtype} {tuple(tensors[name].shape)}"
        if not bool(torch.isfinite(tensors[name]).all()):
            return f"{name}: holds NaN or infinite values"
    return ""


def _about(voice: StoredVoice) -> dict[str, Any]:
    facts = voice.facts
    return {
        "format": FORMAT,
        "id": facts.id,
        "display_name": facts.display_name,
        "languages": list(facts.languages),
        "models": list(facts.models),
        "description": facts.description,
        "created_unix_seconds": facts.created_unix_seconds,
        "weights": voice.weights,
    }


def _voice(about: Any, conditionals: VoiceConditionals) -> StoredVoice:
    if about["format"] != FORMAT:
        raise ValueError(f"format {about['format']}")
    facts = VoiceFacts(
        id=str(about["id"]),
        display_name=str(about["display_name"]),
        languages=tuple(map(str, about["languages"])),
        models=tuple(map(str, about["models"])),
        description=str(about["description"]),
        created_unix_seconds=float(about["created_unix_seconds"]),
    )
    if not facts.languages or not facts.models:
        raise ValueError("no language, or no model")
    if not 0.0 <= float(about["created_unix_seconds"]) <= LATEST_UNIX_SECONDS:
        raise ValueError(f"made at {about['created_unix_seconds']}")
    return StoredVoice(facts=facts, weights=str(about["weights"]), conditionals=conditionals)


def _metadata(data: bytes) -> dict[str, str]:
    length = int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    header = json.loads(data[_HEADER_LENGTH_BYTES : _HEADER_LENGTH_BYTES + length])
    metadata: dict[str, str] = header["__metadata__"]
    return metadata
