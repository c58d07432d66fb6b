"""What a front end imports whose engine is another process, told in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parent.parent.parent
OF_THE_ENGINE = ("torch", "torchaudio", "chatterbox", "perth", "hibari", "onnxruntime", "safetensors")
SCRIPT = "import json, sys; import tts_service.__main__, tts_service.front; print(json.dumps(sorted(sys.modules)))"


def test_front_end_imports_nothing_of_the_engines() -> None:
    """It is up in the time that gRPC takes, and holds none of torch's memory."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert [] == [name for name in OF_THE_ENGINE if name in json.loads(done.stdout)]
