"""How far the start is: told by the threads that load, asked by callers, shown on the terminal or in the log."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from tts_service.errors import StartupError
from tts_service.spans import NO_SPANS, SpanLog
from tts_service.types import ModuleName

LOG_SECONDS: Final = 2.0
"""Between two lines of the log, where there is no terminal to draw on."""

_log = structlog.get_logger(__name__)

Show = Callable[[str, int, int], None]
"""Takes what is being done, the bytes that are done, and all that there are (0: not known)."""


class StartEndedError(StartupError):
    """The service was told to end before it had begun."""


def _show_nothing(stage: str, done_bytes: int, total_bytes: int) -> None:
    del stage, done_bytes, total_bytes


class LoadProgress:
    """What is being loaded, and how far that is. Told from any thread; who shows it is called without a lock.

    Whoever tells it hears StartEndedError once the start is to end: that is how a long step is left. Stages are kept in
    `spans`.
    """

    def __init__(self, spans: SpanLog = NO_SPANS) -> None:
        self._spans = spans
        self._stage_began_seconds = spans.now()
        self._show: Show = _show_nothing
        self._lock = threading.Lock()
        self._stage, self._done_bytes, self._total_bytes = "", 0, 0
        self._module_bytes: dict[ModuleName, int] = {}
        self._ended = False
        self._over = False

    def __repr__(self) -> str:
        return f"<LoadProgress {self.text()}{' to end' if self._ended else ''}>"

    def text(self) -> str:
        """Return what is awaited, for callers."""
        with self._lock:
            share = f" ({100 * self._done_bytes // self._total_bytes} %)" if self._total_bytes else ""
            return f"the service is {self._stage or 'starting'}{share}; speech comes when that is done"

    def show_with(self, show: Show) -> None:
        """Have it shown from now on."""
        self._show = show

    def stage(self, name: str) -> Callable[[int, int], None]:
        """Begin a stage, such as "loading weights", and return what takes its bytes: those done, and all."""
        self._end_stage()
        with self._lock:
            self._stage, self._done_bytes, self._total_bytes = name, 0, 0
        self._tell(0, 0)
        return self._tell

    def span(self, name: str, *, on: str) -> AbstractContextManager[None]:
        """Return a block whose time is kept beside the stages: what is done meanwhile, in a row of its own."""
        return self._spans.span(name, on=on)

    def modules(self, byte_counts: Mapping[ModuleName, int]) -> None:
        """Begin the stage in which these modules are loaded, each of them once."""
        with self._lock:
            self._module_bytes = dict.fromkeys(byte_counts, 0)
        self.stage("loading weights")(0, sum(byte_counts.values()))

    def module(self, name: ModuleName, done_bytes: int) -> None:
        """Take a module's bytes; after the start, when modules come back, nobody asks for them."""
        if self._over:
            return
        with self._lock:
            self._module_bytes[name] = done_bytes
            done_bytes = sum(self._module_bytes.values())
        self._tell(done_bytes, self._total_bytes)

    def check(self) -> None:
        """Raise StartEndedError if the start is to end."""
        if self._ended:
            raise StartEndedError("the start was ended")

    def end(self) -> None:
        """Have the start end at the next word of how far it is."""
        self._ended = True

    def over(self) -> None:
        """Say that everything is there."""
        self._end_stage()
        self._over = True
        self._show = _show_nothing

    def _end_stage(self) -> None:
        self._spans.began(self._stage or "starting", on="start", begin_seconds=self._stage_began_seconds)
        self._stage_began_seconds = self._spans.now()

    def _tell(self, done_bytes: int, total_bytes: int) -> None:
        self.check()
        with self._lock:
            self._done_bytes, self._total_bytes = done_bytes, total_bytes
        self._show(self._stage, done_bytes, total_bytes)


@contextmanager
def shown_progress(console: Console | None, *, clock: Callable[[], float]) -> Iterator[Show]:
    """Give what shows progress: a bar on a terminal's console, or, without one, lines in the log."""
    if console is None:
        yield LoggedProgress(clock)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)
        yield lambda stage, done, total: bar.update(task, description=stage, completed=done, total=total or None)


class LoggedProgress:
    """Writes lines of progress, not too many: each stage's first, and then one in a while."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._last: tuple[str, float] | None = None

    def __repr__(self) -> str:
        return f"<LoggedProgress last {self._last}>"

    def __call__(self, stage: str, done_bytes: int, total_bytes: int) -> None:
        """Write a line if it is time for one."""
        now = self._clock()
        if self._last is not None and self._last[0] == stage and now - self._last[1] < LOG_SECONDS:
            return
        self._last = (stage, now)
        far = {"percent": round(100 * done_bytes / total_bytes), "bytes": total_bytes} if total_bytes else {}
        _log.info("starting", stage=stage, **far)
