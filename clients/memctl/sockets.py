"""Where the sockets are, and what is wrong with one that does not answer.

The daemon listens at `policy.sock` and every service at `services/NAME.sock`, in one folder: `greenroom` under
`$XDG_RUNTIME_DIR`, else `greenroom-UID` under the temporary directory.
"""

import errno
import os
import socket
import stat
import tempfile
from collections.abc import Mapping
from enum import Enum
from pathlib import Path

PROBE_SECONDS = 1.0
POLICY_SOCKET = "policy.sock"
POLICY_SOCKET_VARIABLE = "GREENROOM_DAEMON_POLICY_SOCKET"
"""The daemon's own setting, so that both find each other where it is set."""
SERVICES_FOLDER = "services"
SUFFIX = ".sock"


class Fault(Enum):
    """Why a socket does not answer."""

    MISSING = "missing"
    FORBIDDEN = "forbidden"
    FOREIGN = "foreign"
    STALE = "stale"
    SILENT = "silent"
    LOST = "lost"
    TOO_LONG = "too long"


def runtime_folder(environment: Mapping[str, str], user_id: int, temporary: Path) -> Path:
    """Return the folder that all sockets are in."""
    runtime = Path(environment.get("XDG_RUNTIME_DIR", ""))
    return runtime / "greenroom" if runtime.is_absolute() else temporary / f"greenroom-{user_id}"


def own_policy_socket() -> Path:
    """Return where the daemon listens unless told: as its own variable says, else in the folder of this user."""
    told = os.environ.get(POLICY_SOCKET_VARIABLE)
    if told:
        return Path(told)
    return runtime_folder(os.environ, os.getuid(), Path(tempfile.gettempdir())) / POLICY_SOCKET


def services_folder(policy_socket: Path) -> Path:
    """Return the folder of the services that the daemon at `policy_socket` governs: it lies beside the socket."""
    return policy_socket.parent / SERVICES_FOLDER


def service_socket(policy_socket: Path, service: str) -> tuple[str, Path]:
    """Return name and control socket of a service, given by its name or by the path of its socket."""
    if "/" in service:
        path = Path(service)
        return path.name.removesuffix(SUFFIX), path
    return service, services_folder(policy_socket) / f"{service}{SUFFIX}"


def found_services(policy_socket: Path) -> dict[str, Path]:
    """Return the control sockets in the services' folder by name; none if there is no such folder."""
    paths = sorted(services_folder(policy_socket).glob(f"*{SUFFIX}"))
    return {path.name.removesuffix(SUFFIX): path for path in paths}


def fault_of(path: Path) -> Fault:
    """Return why nothing answers at a path, by looking at it and by connecting once; `LOST` if somebody listens."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return Fault.FOREIGN
        _connect_once(path)
    except OSError as error:
        return _fault_of_error(error)
    return Fault.LOST


def _connect_once(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_SECONDS)
        probe.connect(str(path))


def _fault_of_error(error: OSError) -> Fault:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return Fault.MISSING
        case errno.EACCES | errno.EPERM:
            return Fault.FORBIDDEN
        case errno.ECONNREFUSED:
            return Fault.STALE
        case None if "too long" in str(error):
            # Python itself refuses a path of over 107 bytes, without an errno.
            return Fault.TOO_LONG
        case errno.ENAMETOOLONG:
            return Fault.TOO_LONG
        case _:
            return Fault.SILENT
