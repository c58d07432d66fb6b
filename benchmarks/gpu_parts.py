"""The parts of `gpu_savings`, each run in a process of its own, so that no part holds what another one took.

python -m benchmarks.gpu_parts PART --folder FOLDER --model MODEL --device DEVICE --tokens N --result FILE
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch

from benchmarks.device_memory import DeviceMemory, begin_host_peak, wait_for_device
from benchmarks.fidelity import Comparison, conditionals_rows
from benchmarks.host_memory import host_bytes
from benchmarks.plain_residency import PlainResidency
from benchmarks.product_speech import TEXT, GivenVoices, ProductSpeech, Spoken, never_stop, speaks_on
from benchmarks.reference_tone import reference_samples, write_reference
from benchmarks.upstream_models import upstream_assembled, upstream_limited, upstream_loaded
from tts_service.machine import fix_kernels
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.conditionals import read_conditionals
from tts_service.models.chatterbox.layout import CONDITIONALS_FILE
from tts_service.models.chatterbox.loading import ModelWeights, open_weights
from tts_service.models.chatterbox.network_size import NetworkSize
from tts_service.models.chatterbox.s3gen_network import S3GEN_FLOW, S3GEN_VOCODER
from tts_service.models.chatterbox.t3_network import T3
from tts_service.models.chatterbox.upstream import quiet
from tts_service.speech.voice_conditionals import VoiceConditionals
from tts_service.speech.voice_encoding import ENCODER_MODULES, VoiceEncoding, encoding_rules
from tts_service.speech.whole_utterance import SpeechNetworks
from tts_service.types import MODEL_SAMPLE_RATE_HERTZ

WARM_UPS: Final = 1

CHUNK_TURNS: Final = 10
CHUNK_TOKENS: Final = 40
SPEAKING: Final = (T3, S3GEN_FLOW, S3GEN_VOCODER)
MIXED_VOICES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What every part is told. `tokens` is an utterance's length, `repeats` how often it is timed."""

    folder: Path
    model: ChatterboxModel
    device: str
    tokens: int
    repeats: int
    utterances: int
    utterance_tokens: int

    @property
    def reference(self) -> Path:
        """Where a recording for new voices is."""
        path = Path(tempfile.gettempdir()) / "greenroom-reference.wav"
        write_reference(path)
        return path


def upstream_part(setup: Setup, memory: DeviceMemory) -> dict[str, Any]:
    """Measure upstream's own object: loaded by itself, `prepare_conditionals`, `generate()`."""
    is_full = open_weights(setup.folder, setup.model).size is NetworkSize.FULL
    load = upstream_loaded if is_full else upstream_assembled
    readings = {"start": memory.reading()}
    theirs = load(setup.folder, setup.model, setup.device)
    readings["loaded"] = memory.reading()
    reference = setup.reference
    with quiet():
        voice_seconds = _timed(setup, lambda: theirs.prepare_conditionals(str(reference)))
    readings["voice created"] = memory.reading()
    never_stop(theirs.t3)
    upstream_limited(theirs, setup.model, setup.tokens)
    spoken_in = {"language_id": "en"} if setup.model is ChatterboxModel.MULTILINGUAL else {}
    runs, samples = [], 0
    for seed in range(WARM_UPS + setup.repeats):
        torch.manual_seed(seed)
        memory.begin_peaks()
        began = time.perf_counter()
        with quiet():
            samples = theirs.generate(TEXT, **spoken_in).shape[-1]
        runs.append((time.perf_counter() - began) * MODEL_SAMPLE_RATE_HERTZ / samples)
    readings["utterance"] = memory.reading()
    factor = statistics.median(runs[WARM_UPS:])
    return {
        "memory": readings,
        "voice_seconds": voice_seconds,
        "speech_seconds": samples / MODEL_SAMPLE_RATE_HERTZ,
        "real_time_factor": factor,
        "first_audio_seconds": factor * samples / MODEL_SAMPLE_RATE_HERTZ,
    }


def resident_part(setup: Setup, memory: DeviceMemory) -> dict[str, Any]:
    """Measure ours with every module on the device."""
    return _ours(setup, memory, encoders_stay=True)


def offloaded_part(setup: Setup, memory: DeviceMemory) -> dict[str, Any]:
    """Measure ours with the encoders on HOST but for the time that a voice is created, and what that does to chunks."""
    return _ours(setup, memory, encoders_stay=False)


def fidelity_part(setup: Setup, memory: DeviceMemory) -> dict[str, Any]:
    """Compare ours with upstream's functions, in fp32 without TF32."""
    del memory
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    theirs = upstream_assembled(setup.folder, setup.model, setup.device)
    modules = PlainResidency(open_weights(setup.folder, setup.model), setup.device).bring((*SPEAKING, *ENCODER_MODULES))
    networks = SpeechNetworks(t3=modules[T3], flow=modules[S3GEN_FLOW], vocoder=modules[S3GEN_VOCODER])
    rows = conditionals_rows(theirs, dict(modules), setup.model, setup.reference)
    return {"rows": {**rows, **Comparison(theirs, networks, setup.model).rows()}}


def endurance_part(setup: Setup, memory: DeviceMemory) -> dict[str, Any]:
    """Speak many utterances with mixed voices; watch memory and the real-time factor."""
    fix_kernels()
    weights = open_weights(setup.folder, setup.model)
    own = _own_voice(setup)
    voices = {str(number): _other_voice(own, number) for number in range(MIXED_VOICES)}
    speech = ProductSpeech(setup.folder, weights, GivenVoices(voices), setup.device)
    modules = PlainResidency(weights, setup.device).bring(SPEAKING)
    rows = []
    for number in range(setup.utterances):
        began = time.process_time()
        spoken = speech.speak(modules, voice=str(number % MIXED_VOICES), seed=number, max_tokens=setup.utterance_tokens)
        processor_seconds = time.process_time() - began
        reading = memory.reading()
        rows.append(
            {
                "real_time_factor": spoken.real_time_factor,
                "processor_factor": processor_seconds * MODEL_SAMPLE_RATE_HERTZ / len(spoken.samples),
                "host_mib": host_bytes("VmRSS") / 2**20,
                **{name: reading[name] for name in ("reserved", "device") if name in reading},
            }
        )
    return {"utterances": setup.utterances, "tokens": setup.utterance_tokens, "tenths": _tenths(rows)}


PARTS: Final[dict[str, Callable[[Setup, DeviceMemory], dict[str, Any]]]] = {
    "upstream": upstream_part,
    "resident": resident_part,
    "offloaded": offloaded_part,
    "fidelity": fidelity_part,
    "endurance": endurance_part,
}


def _ours(setup: Setup, memory: DeviceMemory, *, encoders_stay: bool) -> dict[str, Any]:
    fix_kernels()
    weights = open_weights(setup.folder, setup.model)
    readings = {"start": memory.reading()}
    residency, loading = _loaded(weights, setup.device)
    residency.bring((*SPEAKING, *ENCODER_MODULES) if encoders_stay else SPEAKING)
    readings["loaded"] = memory.reading()
    made: list[VoiceConditionals] = []
    voice_seconds = _timed(setup, lambda: made.append(_created_voice(setup, residency, encoders_stay=encoders_stay)))
    readings["voice created"] = memory.reading()
    never_stop(residency.there[T3])
    speech = ProductSpeech(setup.folder, weights, GivenVoices({"made": made[0]}), setup.device)
    runs = []
    for seed in range(WARM_UPS + setup.repeats):
        memory.begin_peaks()
        runs.append(speech.speak(residency.there, voice="made", seed=seed, max_tokens=setup.tokens))
    readings["utterance"] = memory.reading()
    timed = runs[WARM_UPS:]
    return {
        "memory": readings,
        "loading": loading,
        "voice_seconds": voice_seconds,
        "voice_bytes": made[0].byte_count,
        "speech_seconds": len(timed[-1].samples) / MODEL_SAMPLE_RATE_HERTZ,
        "real_time_factor": statistics.median(each.real_time_factor for each in timed),
        "first_audio_seconds": statistics.median(each.chunk_seconds[0] for each in timed),
        "chunk_seconds": [
            statistics.median(column) for column in zip(*(each.chunk_lengths for each in timed), strict=True)
        ]
        if speaks_on(setup.model)
        else [],
        **({} if encoders_stay else {"chunks": _chunk_times(residency, speech)}),
    }


def _loaded(weights: ModelWeights, device: str) -> tuple[PlainResidency, dict[str, float]]:
    """Load all modules into host memory; return them, the time, and the most that it took beside the weights' size."""
    torch.aminmax(torch.zeros(4))  # What torch takes for itself is no part of it.
    before_bytes, began = host_bytes("VmRSS"), time.perf_counter()
    begin_host_peak()
    residency = PlainResidency(weights, device)
    weight_bytes = sum(weights.byte_count(name) for name in weights.modules)
    return residency, {
        "seconds": time.perf_counter() - began,
        "weights_mib": weight_bytes / 2**20,
        "peak_to_weights": (host_bytes("VmHWM") - before_bytes) / weight_bytes,
    }


def _created_voice(setup: Setup, residency: PlainResidency, *, encoders_stay: bool) -> VoiceConditionals:
    """Create a voice; the encoders are on the device for as long as that lasts, or anyway."""
    encoding = VoiceEncoding(reference_samples(setup.reference), encoding_rules(setup.model))
    modules = residency.bring(ENCODER_MODULES)
    while needed := encoding.next_modules:
        encoding.step({name: modules[name] for name in needed})
    del modules
    if not encoders_stay:
        residency.send_away(ENCODER_MODULES)
    return encoding.voice()


def _chunk_times(residency: PlainResidency, speech: ProductSpeech) -> dict[str, Any]:
    """Time a short utterance in turns with the encoders on the device and without; the best of each chunk counts.

    Eager decoding is bound by the processor, whose speed here is anybody's: so many short turns, not few long ones.
    """
    runs: dict[bool, list[Spoken]] = {True: [], False: []}
    for turn in range(CHUNK_TURNS):
        for present in ((True, False), (False, True))[turn % 2]:
            if present:
                residency.bring(ENCODER_MODULES)
            else:
                residency.send_away(ENCODER_MODULES)
            # The first one finds the allocator's memory gone, which it gives back in `send_away`.
            speech.speak(residency.there, voice="made", seed=0, max_tokens=CHUNK_TOKENS)
            runs[present].append(speech.speak(residency.there, voice="made", seed=0, max_tokens=CHUNK_TOKENS))
    same = {run.samples.tobytes() for each in runs.values() for run in each}
    with_encoders, without = (
        [min(column) for column in zip(*(run.chunk_lengths for run in runs[present]), strict=True)]
        for present in (True, False)
    )
    return {
        "with_encoders_seconds": with_encoders,
        "without_seconds": without,
        "ratio": sum(without) / sum(with_encoders),
        "same_samples": len(same) == 1,
    }


def _own_voice(setup: Setup) -> VoiceConditionals:
    content = read_conditionals(setup.folder / CONDITIONALS_FILE)
    return VoiceConditionals.from_upstream(content.t3, content.gen)


def _other_voice(voice: VoiceConditionals, number: int) -> VoiceConditionals:
    """Return the voice with its numbers turned round, which makes another one of the same size."""
    return VoiceConditionals.from_tensors(
        {name: tensor.roll(number, dims=0) for name, tensor in voice.tensors().items()}
    )


def _tenths(rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Return the medians of each tenth of the utterances."""
    size = max(1, len(rows) // 10)
    groups = [rows[start : start + size] for start in range(0, len(rows), size)]
    return [{name: statistics.median(row[name] for row in group) for name in group[0]} for group in groups]


def _timed(setup: Setup, action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    wait_for_device(setup.device)
    return time.perf_counter() - began


def main() -> int:
    """Run one part and write what it returns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--model", type=ChatterboxModel, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--tokens", type=int, required=True)
    parser.add_argument("--repeats", type=int, required=True)
    parser.add_argument("--utterances", type=int, default=0)
    parser.add_argument("--utterance-tokens", type=int, default=8)
    parser.add_argument("--result", type=Path, required=True)
    told = vars(parser.parse_args())
    part, result = PARTS[told.pop("part")], told.pop("result")
    memory = DeviceMemory(told["device"])
    if memory.reading():
        torch.zeros(1, device=told["device"])
    result.write_text(json.dumps(part(Setup(**told), memory)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
