"""Values as JSON documents with stable keys: the fields' own names, sizes in bytes, times in seconds, null for none.

A policy's numbers stand under their wire names (durations with `_seconds`); a mark is `{"bytes": N}` or
`{"percent": P}`. Enums are the lower-case words of `types`.
"""

import math
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from memctl.errors import MemctlError, RefusedError
from memctl.settings import SETTINGS
from memctl.types import Policy, Status


def document(value: object) -> Any:
    """Return what `json.dumps` takes, for any value of `types` and for containers of them."""
    match value:
        case Policy():
            return _policy(value)
        case dict():
            return {str(key): document(one) for key, one in value.items()}
        case tuple() | list():
            return [document(one) for one in value]
        case Path():
            return str(value)
        case float() if not math.isfinite(value):
            # JSON has no such number.
            return None
        case _ if is_dataclass(value):
            return {field.name: document(getattr(value, field.name)) for field in fields(value)}
        case _:
            return value


def status_document(status: Status, now_unix_seconds: float) -> dict[str, Any]:
    """Return a status and when it came: the same for `get status`, `top` and every line of `watch`."""
    return {"unix_seconds": now_unix_seconds, **document(status)}


def error_document(error: MemctlError) -> dict[str, Any]:
    """Return what went wrong, for scripts; `metadata` holds the dynamic values of the answer."""
    metadata = error.metadata if isinstance(error, RefusedError) else {}
    retry_seconds = error.retry_after_seconds if isinstance(error, RefusedError) else None
    return {
        "error": {
            "exit_code": int(error.exit_code),
            "reason": error.reason,
            "message": error.happened,
            "way_out": error.way_out,
            "fields": document(error.violations),
            "metadata": metadata,
            "retry_after_seconds": retry_seconds,
        }
    }


def _policy(policy: Policy) -> dict[str, Any]:
    numbers = {setting.key: document(policy.values.get(setting.name)) for setting in SETTINGS}
    return {**numbers, "etag": policy.etag, "revision": policy.revision}
