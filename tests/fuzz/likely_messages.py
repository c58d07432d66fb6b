"""Calls that are as they should be, in which a single field is then made hostile.

So what lies behind the first checks is reached as well. Methods that are not here get hostile messages alone.
"""

from typing import Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from greenroom.memory.v1 import policy_pb2 as policy
from greenroom.memory.v1 import residency_pb2 as residency
from greenroom.tts.v1 import tts_pb2 as tts

SPAN: Final = Duration(seconds=2)
WORDS: Final = "All the world's a stage. And all the men and women merely players."
PCM: Final = bytes(48_000)


def _session(*rest: tts.StreamingSynthesizeRequest) -> list[Message]:
    return [tts.StreamingSynthesizeRequest(config=tts.SessionConfig(pacing=tts.PACING_NONE)), *rest]


def _said(name: str) -> tts.StreamingSynthesizeRequest:
    return tts.StreamingSynthesizeRequest(text=tts.TextChunk(utterance_id=name, text=WORDS))


def _placements() -> list[residency.Placement]:
    return [
        residency.Placement(module=name, tier=residency.TIER_HOST, urgency=residency.URGENCY_WHEN_UNCLAIMED)
        for name in ("voice", "watermark.encoder")
    ]


def _directive() -> residency.GovernRequest:
    # The first governor has the first epoch; those after it are refused for that alone.
    directive = residency.Directive(epoch=1, version=1, valid_for=SPAN, placements=_placements(), budget_bytes=1 << 30)
    return residency.GovernRequest(directive=directive)


def _update() -> policy.UpdatePolicyRequest:
    request = policy.UpdatePolicyRequest(policy=policy.Policy(grace=SPAN), requested_by="fuzz")
    request.policy.low.percent = 12.0
    request.update_mask.paths.extend(("grace", "low"))
    return request


def likely_calls() -> dict[str, list[list[Message]]]:
    """Return calls by the full name of their method."""
    speech, control, operators = (
        "greenroom.tts.v1.TextToSpeechService",
        "greenroom.memory.v1.ResidencyService",
        "greenroom.memory.v1.PolicyService",
    )
    stream = tts.StreamingSynthesizeRequest
    override = policy.Override(service="speech", module="t3", kind=policy.OVERRIDE_KIND_PIN)
    return {
        f"{speech}.StreamingSynthesize": [
            _session(
                _said("u1"),
                stream(flush=tts.Flush(utterance_id="u1", flush_id="f1")),
                stream(playback=tts.PlaybackPosition(utterance_id="u1", played_samples=10)),
                stream(cancel=tts.CancelUtterance(utterance_id="u1", heard_samples=10)),
                _said("u2"),
                stream(end_utterance=tts.EndUtterance(utterance_id="u2")),
            ),
            _session(stream(update=tts.UpdateConfig(config=tts.SessionConfig(sampling=tts.Sampling(seed=1))))),
        ],
        f"{speech}.Synthesize": [
            [tts.SynthesizeRequest(text=WORDS, config=tts.SessionConfig(sampling=tts.Sampling(seed=1)))]
        ],
        f"{speech}.DetectWatermark": [
            [tts.DetectWatermarkRequest(audio_format=tts.AudioFormat()), tts.DetectWatermarkRequest(content=PCM)]
        ],
        f"{speech}.CreateVoice": [[tts.CreateVoiceRequest(spec=tts.VoiceSpec()), tts.CreateVoiceRequest(content=PCM)]],
        f"{control}.Govern": [
            [
                residency.GovernRequest(hello=residency.Hello(holder_id="fuzz", takeover=True)),
                _directive(),
                _directive(),
            ]
        ],
        f"{control}.PlaceModule": [[residency.PlaceModuleRequest(module="voice", tier=residency.TIER_DISK)]],
        f"{control}.TrimMemory": [[residency.TrimMemoryRequest(modules=True, requested_by="fuzz")]],
        f"{operators}.UpdatePolicy": [[_update()]],
        f"{operators}.SetOverride": [
            [policy.SetOverrideRequest(override=override, time_to_live=SPAN, requested_by="fuzz")]
        ],
        f"{operators}.ClearOverride": [
            [policy.ClearOverrideRequest(service="speech", module="t3", requested_by="fuzz")]
        ],
        f"{operators}.SetFreeze": [[policy.SetFreezeRequest(time_to_live=SPAN, requested_by="fuzz")]],
        f"{operators}.ExplainPlacement": [[policy.ExplainPlacementRequest(service="speech", module="t3")]],
        f"{operators}.SimulatePolicy": [
            [policy.SimulatePolicyRequest(config=policy.SimulationConfig(candidates=[policy.Candidate(name="a")]))]
        ],
    }
