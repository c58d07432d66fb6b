"""Tuning in place, carried out: keys go in, the daemon is asked in a thread of its own, the panel shows what became."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import assert_never

from rich.text import Text

from memctl.errors import MemctlError
from memctl.link import PolicyLink
from memctl.reason_tables import numbers_words
from memctl.tuning import Key, SetFreeze, SetNumber, SetOverride, Tuning, UndoChange, Wanted, done, press
from memctl.types import Status

PANEL_ROWS = 2
KEYS = "keys: arrows numbers, Tab modules, d dry run, f freeze, u undo, ? help, q leave"
HELP = (
    "up/down choose a number, left/right less, more   d dry run  f freeze  u undo",
    "Tab a module: p pin  h hold  e evict  r release   Enter does it  Esc drops it",
)
"""What keys do, on the panel's rows; no row is wider than the narrowest usual terminal."""


class Tuner:
    """One operator's keys. `close` waits for what was asked."""

    def __init__(self, open_link: Callable[[], AbstractContextManager[PolicyLink]], *, asker: str) -> None:
        self._open_link = open_link
        self._asker = asker
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="memctl-tuner")
        self._asked: Future[str] | None = None
        self._tuning = Tuning()

    def __repr__(self) -> str:
        return f"<Tuner {self._tuning.words or 'idle'}{' asking' if self._asked else ''}>"

    @property
    def selected(self) -> tuple[str, str] | None:
        """The service and the module that keys act on."""
        return self._tuning.selected

    @property
    def leaves(self) -> bool:
        """Whether the operator has had enough."""
        return self._tuning.leaves

    def press(self, key: Key, status: Status) -> None:
        """Take a key; one request at a time is under way, and what is prepared meanwhile waits for another Enter."""
        if key is Key.ENTER and self._asked is not None:
            return
        self._tuning, wanted = press(self._tuning, key, status)
        if wanted is not None:
            self._asked = self._worker.submit(self._carry_out, wanted)

    def panel(self) -> list[Text]:
        """Return the rows below a frame: what is prepared or became of the last, and which keys there are."""
        if self._asked is not None and self._asked.done():
            self._tuning, self._asked = done(self._tuning, self._asked.result()), None
        words = Text(f"> {self._tuning.words}" if self._tuning.words else "", style="bold")
        if self._tuning.ask is not None:
            words.append("   Enter does it, Esc drops it", style="yellow")
        told = [Text(line, style="dim") for line in (HELP if self._tuning.helps else (KEYS,))]
        rows = [words, *told][-PANEL_ROWS:]
        for row in rows:
            row.no_wrap, row.overflow = True, "ellipsis"
        return rows

    def close(self) -> None:
        """Take no more keys."""
        self._worker.shutdown(cancel_futures=True)

    def _carry_out(self, wanted: Wanted) -> str:
        try:
            with self._open_link() as link:
                return self._ask(link, wanted)
        except MemctlError as error:
            return f"refused: {error.happened} {error.way_out}".strip()

    def _ask(self, link: PolicyLink, wanted: Wanted) -> str:
        match wanted:
            case SetNumber(name=name, value=value, etag=etag):
                after = link.update_policy({name: value}, etag=etag, validate_only=False, requested_by=self._asker)
                return f"{name} is set: revision {after.revision}"
            case SetOverride(service=service, module=module, kind=None):
                link.clear_override(service, module, requested_by=self._asker)
                return f"{module} of {service} is released"
            case SetOverride(service=service, module=module, kind=kind, time_to_live_seconds=seconds):
                assert kind is not None
                link.set_override(service, module, kind, time_to_live_seconds=seconds, requested_by=self._asker)
                return f"{module} of {service}: {kind}"
            case SetFreeze(time_to_live_seconds=None):
                link.clear_freeze(requested_by=self._asker)
                return "thawed"
            case SetFreeze(time_to_live_seconds=seconds):
                link.set_freeze(time_to_live_seconds=seconds, requested_by=self._asker)
                return "frozen: the daemon moves nothing"
            case UndoChange(etag=etag):
                undone = link.undo_policy(revision=None, etag=etag, validate_only=False, requested_by=self._asker)
                return f"undone: {numbers_words(undone.numbers)}"
            case _:
                assert_never(wanted)
