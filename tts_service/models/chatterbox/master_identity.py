"""What a module's host memory holds, in a few bytes: from which file, of which time, and what lies where."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tts_service.models.chatterbox.host_master import tensor_places
from tts_service.models.chatterbox.running_form import RunningForm
from tts_service.models.chatterbox.weight_file import StoredTensor


def master_identity(path: Path, stored: Mapping[str, StoredTensor], form: RunningForm) -> str:
    """Return what is the same for the same memory alone; a file that was written again is another. Raises OSError."""
    found = path.stat()
    total = hashlib.sha256(f"{found.st_dev} {found.st_ino} {found.st_size} {found.st_mtime_ns} {path}".encode())
    for name, (begin, tensor_form) in tensor_places(stored, form).items():
        each = stored[name]
        total.update(f"\n{name} {each.dtype} {each.shape} {each.start_byte} {begin} {tensor_form}".encode())
    return total.hexdigest()
