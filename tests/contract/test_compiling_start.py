"""A start that compiles kernels: LLVM takes signals for itself, and the service hears them all the same."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes.hurt import eventually

pytest.importorskip("triton", reason="kernels are compiled where torch is built for CUDA")

STARTUP_SECONDS = 60.0


def test_signals_are_heard_after_kernels_were_compiled(tmp_path: Path) -> None:
    """SIGUSR1 writes the trace, and SIGTERM drains."""
    trace, log = tmp_path / "trace.json", tmp_path / "log"
    environment = {
        **os.environ,
        "TRITON_CACHE_DIR": str(tmp_path / "kernels"),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "GREENROOM_SERVICE_SPEECH_ADDRESS": "127.0.0.1:0",
        "GREENROOM_SERVICE_MODEL": "builtin",
        "GREENROOM_SERVICE_TRACE_FILE": str(trace),
        "GREENROOM_SERVICE_CACHE_DIR": str(tmp_path / "cache"),
        "GREENROOM_SERVICE_METRICS__ENABLED": "false",
    }
    with log.open("w") as written:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.compiling_service"],
            env=environment,
            stdout=written,
            stderr=subprocess.STDOUT,
        )
        try:
            assert eventually(lambda: " ready " in log.read_text(), within_seconds=STARTUP_SECONDS), log.read_text()
            process.send_signal(signal.SIGUSR1)
            traced = eventually(trace.exists)
            process.terminate()
            status = process.wait(timeout=30)
        finally:
            process.kill()
            process.wait()

    assert list((tmp_path / "kernels").iterdir())
    assert (True, 0) == (traced, status)
