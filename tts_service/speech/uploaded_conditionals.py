"""A voice that upstream's own code made (`conds.pt`), as somebody sends it: nothing in it is run, nothing believed."""

import io
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from tts_service.errors import CallerError, bad_config
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.upstream import quiet
from tts_service.models.chatterbox.weight_file import ARCHIVE_ERRORS
from tts_service.models.chatterbox.weight_problems import BadWeightsError
from tts_service.speech.mel_flow import MelPrompt
from tts_service.speech.token_prompt import TokenVoice
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_file import voice_problem

MAX_UNPACKED_BYTES: Final = 16 * 1024 * 1024
"""A voice has 0.2 MiB; an archive may be packed so that it unfolds to any size."""


def read_uploaded_conditionals(data: bytes, *, max_prompt_tokens: int) -> VoiceConditionals:
    """Return the voice in a file; `max_prompt_tokens` is what the model's T3 takes. Raises CallerError BAD_CONFIG."""
    _check_plain(_content(data))
    with tempfile.TemporaryDirectory(prefix="greenroom-voice-") as folder:
        path = Path(folder) / CONDITIONALS_FILE
        path.write_bytes(data)
        try:
            made = read_conditionals(path)
        except BadWeightsError as error:
            raise _bad(str(error.problems[0])) from error
    voice = _owned(VoiceConditionals.from_upstream(made.t3, made.gen))
    problem = voice_problem(voice)
    if problem:
        raise _bad(problem)
    if len(voice.tokens.tokens) > max_prompt_tokens:
        raise _bad(
            f"it was made for another model: it has {len(voice.tokens.tokens)} tokens for T3, this model takes at most "
            f"{max_prompt_tokens}"
        )
    return voice


def _bad(what: str) -> CallerError:
    return bad_config("content", f"is no voice that upstream's Conditionals.save wrote: {what}")


def _content(data: bytes) -> Any:
    """Return what the archive holds, once it is known to unfold to no more than its due."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            unpacked_bytes = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise _bad("it is truncated, or not a PyTorch archive") from error
    if unpacked_bytes > MAX_UNPACKED_BYTES:
        raise _bad(f"it unfolds to {unpacked_bytes} bytes, a voice has less than {MAX_UNPACKED_BYTES}")
    try:
        with quiet():  # Torch warns of sparse tensors, which are refused anyway.
            return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except ARCHIVE_ERRORS as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise _bad(f"it is damaged, or holds more than tensors ({first[:200]})") from error


def _check_plain(content: Any) -> None:
    """Refuse tensors that are not simply there: one of a few bytes may say that it has as many values as it likes."""
    for tensor in _tensors(content):
        is_plain = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
        if not is_plain or tensor.numel() * tensor.element_size() > MAX_UNPACKED_BYTES:
            raise _bad("it holds a tensor that is not a plain array")


def _tensors(content: Any) -> Iterator[torch.Tensor]:
    parts = content.values() if isinstance(content, Mapping) else ()
    for value in [content, *parts, *(each for part in parts if isinstance(part, Mapping) for each in part.values())]:
        if isinstance(value, torch.Tensor):
            yield value


def _owned(voice: VoiceConditionals) -> VoiceConditionals:
    """Return a voice as float32 and whole numbers in memory of its own."""
    tokens = TokenVoice(speaker=voice.tokens.speaker.float().clone(), tokens=voice.tokens.tokens.clone())
    prompt: MelPrompt = replace(
        voice.prompt,
        tokens=voice.prompt.tokens.clone(),
        mel=voice.prompt.mel.float().clone(),
        speaker=voice.prompt.speaker.float().clone(),
    )
    return VoiceConditionals(tokens=tokens, prompt=prompt)
