"""The fake `libnvidia-ml.so.1`, compiled, and the state that it tells."""

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvidia_ml.c")
LIBRARY = "libnvidia-ml.so.1"
STATE_VARIABLE = "GREENROOM_FAKE_NVML"


def compiled(folder: Path) -> Path | None:
    """Compile the library into a folder and return it; None where there is no C compiler."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        return None
    command = [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", str(folder / LIBRARY), str(SOURCE)]
    subprocess.run(command, check=True)
    return folder


class NvmlState:
    """What a library tells, in a file that it reads anew at every call."""

    def __init__(self, path: Path, library: Path | None) -> None:
        self._path = path
        self._library = library

    def __repr__(self) -> str:
        return f"<NvmlState {self._path}>"

    @property
    def environment(self) -> dict[str, str]:
        """Variables that have a process load the library and hear this state."""
        loaded = {} if self._library is None else {"LD_LIBRARY_PATH": str(self._library)}
        return {STATE_VARIABLE: str(self._path), **loaded}

    def tell(self, *lines: str) -> None:
        """Tell this from now on; the file is replaced as a whole, because a reader may come at any moment."""
        fresh = self._path.with_suffix(".new")
        fresh.write_text("".join(f"{line}{os.linesep}" for line in lines))
        fresh.replace(self._path)
