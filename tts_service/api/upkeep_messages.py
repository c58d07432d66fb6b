"""Trimming and settings to messages: what of the control path is not about placements. See `residency_messages`."""

from collections.abc import Sequence

from greenroom.memory.v1 import residency_pb2 as pb
from tts_service.api.residency_messages import device_usage_message
from tts_service.residency.trimming import MemoryKind, TrimmedKind, TrimReport
from tts_service.settings_listing import EffectiveSetting, SettingSource

REQUESTER_MAXIMUM = 128
"""Characters of who asks that are kept for the log."""

_KINDS_OUT = {
    MemoryKind.DEVICE_CACHE: pb.MEMORY_KIND_DEVICE_CACHE,
    MemoryKind.SCRATCH: pb.MEMORY_KIND_SCRATCH,
    MemoryKind.MODULES: pb.MEMORY_KIND_MODULES,
    MemoryKind.PROCESS: pb.MEMORY_KIND_PROCESS,
}
_SOURCES_OUT = {
    SettingSource.DEFAULT: pb.SETTING_SOURCE_DEFAULT,
    SettingSource.FILE: pb.SETTING_SOURCE_FILE,
    SettingSource.VARIABLE: pb.SETTING_SOURCE_VARIABLE,
    SettingSource.FLAG: pb.SETTING_SOURCE_FLAG,
}


def requester_of(message: pb.TrimMemoryRequest) -> str:
    """Return who asks, as far as that is kept."""
    return message.requested_by[:REQUESTER_MAXIMUM]


def trim_message(report: TrimReport) -> pb.TrimMemoryResponse:
    """Return the message of what was given back."""
    return pb.TrimMemoryResponse(
        kinds=[_trimmed(each) for each in report.kinds],
        modules=report.modules,
        device=device_usage_message(report.device),
    )


def settings_messages(settings: Sequence[EffectiveSetting]) -> list[pb.Setting]:
    """Return the messages of settings in force."""
    return [
        pb.Setting(
            name=each.name,
            value=each.value,
            source=_SOURCES_OUT[each.source],
            origin=each.origin,
            description=each.description,
        )
        for each in settings
    ]


def _trimmed(trimmed: TrimmedKind) -> pb.TrimmedMemory:
    return pb.TrimmedMemory(
        kind=_KINDS_OUT[trimmed.kind],
        before_bytes=trimmed.before_bytes,
        after_bytes=trimmed.after_bytes,
        obstacle=trimmed.obstacle,
    )
