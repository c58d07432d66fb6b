"""Evicts and restores the real modules again and again, and prints what that did to the process's memory, as JSON.

Run it by hand for long runs: `python tests/tts_service/residency_cycles.py CACHE_FOLDER 200`. It runs in a process of
its own, because the resident set is everybody's.
"""

import hashlib
import json
import logging
import sys
import time
from pathlib import Path

import structlog

from tts_service.models.builtin_catalog import builtin_catalog
from tts_service.residency.manager import ResidencyManager
from tts_service.residency.mover import Mover
from tts_service.residency.process_memory import ProcessMemory
from tts_service.residency.types import Directive, Placement, Tier
from tts_service.types import VOICE, WATERMARK_DETECTOR, WATERMARK_ENCODER

TEXT = "Modules leave and come back, and nobody hears the difference."
AWAY = (VOICE, WATERMARK_ENCODER, WATERMARK_DETECTOR)


def _speak(manager: ResidencyManager) -> str:
    """Speak, mark and detect; return the sum of the samples."""
    with manager.lease({VOICE, WATERMARK_ENCODER}, timeout_seconds=60) as lent:
        wave = lent[VOICE].synthesize(TEXT, seed=11, speaking_rate=1.0)  # type: ignore[attr-defined]
        marked = lent[WATERMARK_ENCODER].mark(wave)  # type: ignore[attr-defined]
    with manager.lease({WATERMARK_DETECTOR}, timeout_seconds=60) as lent:
        score = lent[WATERMARK_DETECTOR].score(marked)  # type: ignore[attr-defined]
    return hashlib.sha256(wave.tobytes() + marked.tobytes()).hexdigest()[:16] + f" {score:.3f}"


def _evict_all(manager: ResidencyManager, version: int) -> None:
    placements = tuple(Placement(module=module, tier=Tier.DISK) for module in AWAY)
    manager.set_directive(Directive(epoch=1, version=version, valid_for_seconds=60, placements=placements))
    while manager.report().applied_version < version:
        time.sleep(0.002)


def main(cache_folder: str, cycles: int) -> None:
    """Run the cycles and print one JSON object."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    memory = ProcessMemory()
    manager = ResidencyManager(
        builtin_catalog(Path(cache_folder)), mover=Mover(memory=memory, clock=time.perf_counter), stay_seconds=0.0
    )
    manager.start()
    spoken, evicted_bytes, home_bytes, seconds = [_speak(manager)], [], [], []
    for version in range(1, cycles + 1):
        _evict_all(manager, version)
        evicted_bytes.append(memory.resident_bytes())
        manager.set_directive(None)
        began_seconds = time.perf_counter()
        spoken.append(_speak(manager))
        seconds.append(round(time.perf_counter() - began_seconds, 4))
        home_bytes.append(memory.resident_bytes())
    report = manager.report()
    manager.close()
    result = {
        "spoken": sorted(set(spoken)),
        "evicted_bytes": evicted_bytes,
        "home_bytes": home_bytes,
        "wake_seconds": seconds,
        "modules": {each.module: each.home_bytes for each in report.modules},
        "restore_seconds": {each.module: each.restore_seconds for each in report.modules},
        "evict_seconds": {each.module: each.evict_seconds for each in report.modules},
    }
    sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
