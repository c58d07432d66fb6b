"""Where a start's time and memory go, from nothing to ready, each part in a process of its own.

    python -m benchmarks.start_up                                        on a GPU, weights in the page cache
    python -m benchmarks.start_up --weights synthetic:tiny --device cpu  the same way, only to see that it runs

Each part stands alone: one that fails prints why, and the next one begins.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from benchmarks.cached_weights import cached_folder
from benchmarks.host_memory import host_bytes
from benchmarks.started_service import Memory, started
from tools.process import end_on_signals
from tts_service.models.chatterbox.chatterbox_model import ChatterboxModel
from tts_service.models.chatterbox.layout import LAYOUTS

MIB: Final = 1 << 20
WORDS: Final = re.compile(r"\b[a-z]+\b")
"""What kind of work its name tells, without the numbers."""
READERS: Final = (1, 2, 4, 8, 16)
PART_SECONDS: Final = 180.0

IMPORTS: Final = """
import gc, sys, time
if {unwatched}: gc.disable()
begin = time.perf_counter()
import torch
torch_seconds = time.perf_counter() - begin
import tts_service.__main__
service_seconds = time.perf_counter() - begin - torch_seconds
from tts_service.models.chatterbox.packages import import_networks
import_networks(lambda: None)
upstream_seconds = time.perf_counter() - begin - torch_seconds - service_seconds
print(f"torch {{torch_seconds:.2f}}  the service {{service_seconds:.2f}}  upstream {{upstream_seconds:.2f}}")
"""


def imports(options: argparse.Namespace) -> None:
    """Print what importing takes, with Python's collector at work and at rest."""
    del options
    for unwatched in (False, True, False, True):
        print(f"collector {'off' if unwatched else 'on ':3} {_run('-c', IMPORTS.format(unwatched=unwatched)).strip()}")


def reading(options: argparse.Namespace) -> None:
    """Print what reading all modules takes, by the number of threads, as trained and in the GPU's running form."""
    print(f"{'form':10} {'threads':>7} {'seconds':>8} {'GB/s of file':>12} {'held MiB':>9} {'peak / held':>11}")
    for form in ("fp32", "running"):
        for readers in READERS:
            row = json.loads(_part("_read", options, form, str(readers)))
            print(
                f"{form:10} {readers:7} {row['seconds']:8.2f} {row['file_bytes'] / row['seconds'] / 1e9:12.2f} "
                f"{row['held_bytes'] / MIB:9.0f} {row['peak_bytes'] / row['held_bytes']:11.3f}"
            )


def arenas(options: argparse.Namespace) -> None:
    """Print what a module's first way to the device takes, and whether its host memory is the loader's own."""
    print(f"{'module':24} {'MiB':>6} {'load ms':>8} {'first ms':>8} {'again ms':>8} {'GB/s':>6} {'kept of loader':>14}")
    for row in json.loads(_part("_arenas", options)):
        print(
            f"{row['module']:24} {row['bytes'] / MIB:6.0f} {row['load_ms']:8.0f} {row['first_ms']:8.1f} "
            f"{row['again_ms']:8.1f} {row['bytes'] / row['again_ms'] / 1e6:6.1f} {row['kept']:14.2f}"
        )


def service(options: argparse.Namespace) -> None:
    """Start the service itself, and print when it was ready, how it came there, and the memory that this took."""
    weight_bytes = sum((options.folder / file).stat().st_size for file in LAYOUTS[options.model].weight_files)
    for turn in range(2):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            seconds, memory, log = started(_service_command(options, folder), Path(folder), began)
            peak_bytes, resident_bytes = max(each.peak for each in memory), memory[-1].anonymous + memory[-1].file
            print(
                f"turn {turn}: ready {seconds:.2f} s, peak {peak_bytes / MIB:.0f} MiB, "
                f"{peak_bytes / weight_bytes:.2f} of the weights' {weight_bytes / MIB:.0f}, "
                f"then {resident_bytes / MIB:.0f}"
            )
            for line in log:
                _show_event(line)
            _show_spans(Path(folder) / "trace.json", began, memory)


def captures(options: argparse.Namespace) -> None:
    """Start the service, and print by how much host memory grows with each kind of work that is captured.

    The first of a kind has its kernels' code loaded besides, which the others find there.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [*_service_command(options, folder), "--log-level", "debug"]
        _, memory, log = started(command, Path(folder), time.monotonic())
    ahead = time.time() - time.monotonic()
    events = [json.loads(line) for line in log if '"work_captured"' in line]
    last = memory[0].anonymous
    grown: dict[tuple[str, str], list[int]] = {}
    for event in events:
        at = datetime.fromisoformat(event["timestamp"]).timestamp() - ahead
        until = next((each.anonymous for each in memory if each.seconds >= at), memory[-1].anonymous)
        grown.setdefault((event["module"], " ".join(WORDS.findall(event["work"]))), []).append(until - last)
        last = until
    print(f"{'module':16} {'work':24} {'graphs':>6} {'first MiB':>9} {'others MiB':>10}")
    for (module, work), sizes in grown.items():
        print(f"{module:16} {work:24} {len(sizes):6} {sizes[0] / MIB:9.1f} {sum(sizes[1:]) / MIB:10.1f}")
    print(f"own memory when ready: {memory[-1].anonymous / MIB:.0f} MiB")


def _show_spans(path: Path, began: float, memory: list[Memory]) -> None:
    """Print the start's stages, from the beginning of the process, with the most memory of each."""
    events = json.loads(path.read_text())["traceEvents"]
    rows = {each["tid"]: each["args"]["name"] for each in events if each["ph"] == "M"}
    print(f"   {'stage':28} {'on':8} {'from s':>7} {'takes s':>8} {'own MiB':>8} {'files MiB':>9}")
    for each in sorted((each for each in events if each["ph"] == "X"), key=lambda each: float(each["ts"])):
        on, begin, seconds = rows[each["tid"]], each["ts"] / 1e6, each["dur"] / 1e6
        if on not in {"start", "device"}:
            continue
        seen = [one for one in memory if begin <= one.seconds <= begin + seconds]
        own, files = (max((getattr(one, name) for one in seen), default=0) for name in ("anonymous", "file"))
        print(f"   {each['name']:28} {on:8} {begin - began:7.2f} {seconds:8.2f} {own / MIB:8.0f} {files / MIB:9.0f}")


def _show_event(line: str) -> None:
    try:
        event = json.loads(line)
    except ValueError:
        print(f"   {line[:180]}")
        return
    told = {key: value for key, value in event.items() if key not in {"event", "timestamp", "level"}}
    print(f"   {event.get('timestamp', '')} {event.get('event', '')} {str(told)[:150]}")


def _service_command(options: argparse.Namespace, folder: str) -> list[str]:
    return [
        *(sys.executable, "-W", "ignore", "-m", "tts_service"),
        *("--model", options.model.value, "--weights", str(options.folder), "--device", options.device),
        *("--speech-address", "127.0.0.1:0", "--control-socket", f"{folder}/control.sock", "--log-format", "json"),
        *("--trace", f"{folder}/trace.json"),
        # All in one process, whose memory is watched.
        *("--set", "engine.process=same"),
    ]


def _read(options: argparse.Namespace) -> None:
    """Read every module and say what that took; `form` and `readers` are in `options.rest`."""
    import torch  # noqa: PLC0415  # Only in a part's own process.

    from tts_service.config import Precisions  # noqa: PLC0415
    from tts_service.models.chatterbox import host_master  # noqa: PLC0415
    from tts_service.models.chatterbox.loading import open_weights  # noqa: PLC0415
    from tts_service.running_forms import running_forms  # noqa: PLC0415

    form, readers = options.rest
    torch.set_num_threads(1)
    host_master.reader_count = lambda: int(readers)
    forms = running_forms(Precisions(), torch.device("cpu" if form == "fp32" else "cuda"))
    weights = open_weights(options.folder, options.model, forms=forms)
    before_bytes = host_bytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # Begins VmHWM anew.
    began = time.perf_counter()
    masters = [weights.read_master(module) for module in weights.modules]
    seconds = time.perf_counter() - began
    row = {
        "seconds": seconds,
        "file_bytes": sum(weights.byte_count(module) for module in weights.modules),
        "held_bytes": sum(each.bytes_.nbytes for each in masters),
        "peak_bytes": host_bytes("VmHWM") - before_bytes,
    }
    print(json.dumps(row))


def _arenas(options: argparse.Namespace) -> None:
    """Bring every module to the device twice, and say what that took."""
    import torch  # noqa: PLC0415  # Only in a part's own process.

    from tts_service.config import Precisions  # noqa: PLC0415
    from tts_service.models.chatterbox.loading import open_weights  # noqa: PLC0415
    from tts_service.residency.capture_gate import CaptureGate  # noqa: PLC0415
    from tts_service.residency.device_weights import device_weights  # noqa: PLC0415
    from tts_service.running_forms import running_forms  # noqa: PLC0415

    device = torch.device(options.device)
    if device.type == "cpu":
        print("[]")
        return
    torch.set_num_threads(1)
    weights = open_weights(options.folder, options.model, forms=running_forms(Precisions(), device))
    moving = device_weights(torch.device("cuda", 0), gate=CaptureGate())
    rows = []
    for name in weights.modules:
        began = time.perf_counter()
        module, master = weights.load_with_master(name)
        loaded = time.perf_counter()
        before_bytes = host_bytes("VmRSS")
        moving.restore(name, module)
        first = time.perf_counter()
        grown_bytes = host_bytes("VmRSS") - before_bytes
        moving.evict(name)
        begin_again = time.perf_counter()
        byte_count = moving.restore(name, module)
        again = time.perf_counter()
        rows.append(
            {
                "module": name,
                "bytes": byte_count,
                "load_ms": 1000 * (loaded - began),
                "first_ms": 1000 * (first - loaded),
                "again_ms": 1000 * (again - begin_again),
                "kept": 1 - max(0, grown_bytes) / master.bytes_.nbytes,
            }
        )
    print(json.dumps(rows))


def _into_page_cache(path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while file.read(16 * MIB):
            pass


def _part(name: str, options: argparse.Namespace, *rest: str) -> str:
    given = ["--weights", str(options.folder), "--model", options.model.value, "--device", options.device]
    return _run("-m", "benchmarks.start_up", *given, "--part", name, *rest).splitlines()[-1]


def _run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *arguments],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=PART_SECONDS,
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    return done.stdout


PARTS: Final[dict[str, Callable[[argparse.Namespace], None]]] = {
    "service": service,
    "captures": captures,
    "reading": reading,
    "arenas": arenas,
    "imports": imports,
}
INNER: Final = {"_read": _read, "_arenas": _arenas}


def main() -> int:
    """Run the parts, or one within a process of its own."""
    end_on_signals()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", default="synthetic", help="a folder or synthetic[:tiny], which is made if need be")
    parser.add_argument("--model", type=ChatterboxModel, default=ChatterboxModel.ENGLISH)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", default=",".join(PARTS), help="parts, between commas")
    parser.add_argument("--part", choices=list(INNER), help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.folder = cached_folder(options.weights, options.model)
    if options.part is not None:
        INNER[options.part](options)
        return 0
    for file in LAYOUTS[options.model].weight_files:
        _into_page_cache(options.folder / file)
    for name in options.only.split(","):
        print(f"== {name}", flush=True)
        try:
            PARTS[name](options)
        except Exception as error:  # noqa: BLE001  # The next part is measured all the same.
            print(f"failed: {error}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
