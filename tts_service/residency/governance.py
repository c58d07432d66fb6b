"""The shell around `governor`: one lock, the manager, and the thread that ends what was not renewed.

Order of locks: this one, then the manager's. Readers take none: the governor is one immutable value, so that a
report or a refusal never waits for a directive that is being applied. Listeners are called without it, and kept under
a lock of their own, because those who leave must not wait either.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import structlog

from tts_service.errors import CallerError, Reason
from tts_service.residency import governor as rules
from tts_service.residency.governor import Effect, Governor, Hello
from tts_service.residency.history import MemoryReport
from tts_service.residency.trimming import TrimReport
from tts_service.residency.types import Directive, ModuleStatus, ResidencyReport, Tier
from tts_service.types import ModuleName

_log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""Rest after the manager failed to return to its default; long enough not to spin, short against any time to live."""

Listener = Callable[[], None]


class ManagedResidency(Protocol):
    """What governing needs of the manager; thread-safe and synchronous."""

    def set_directive(self, directive: Directive | None) -> tuple[ModuleName, ...]:
        """Take a directive as a whole, or raise CallerError MODULE_NOT_FOUND or BAD_CONFIG and change nothing.

        A directive ends what operators placed; returns those modules.
        """

    def place(self, module: ModuleName, tier: Tier | None, *, timeout_seconds: float) -> tuple[ModuleStatus, str]:
        """Move a module for an operator; the words say why it has not moved yet, empty if it has.

        Raises CallerError GOVERNED while a directive is in force.
        """

    def trim(self, *, modules: bool, timeout_seconds: float) -> TrimReport:
        """Give back what nobody misses, with idle modules if they are asked for."""

    def report(self, *, closely: bool = False) -> ResidencyReport:
        """Say what is, with epoch 0 and no holder; `closely` with what takes milliseconds to find out."""

    def subscribe(self, callback: Listener) -> Listener:
        """Call back after every change, from any thread; the result ends that."""

    def memory_report(self, max_samples: int) -> MemoryReport:
        """Say how memory was used."""


class Governance:
    """Lets governors in and out, passes their word on to the manager, and ends it in time.

    With `fixed`, modules never move: nobody governs, and nobody places anything.
    """

    def __init__(self, *, residency: ManagedResidency, clock: Callable[[], float], fixed: bool = False) -> None:
        self._residency = residency
        self._fixed = fixed
        self._clock = clock
        self._lock = threading.Condition()
        self._governor = Governor()
        self._on_superseded: Listener | None = None
        self._listeners_lock = threading.Lock()
        self._listeners: tuple[Listener, ...] = ()
        self._unsubscribe: Listener | None = None
        self._thread: threading.Thread | None = None
        self._closing = False

    def __repr__(self) -> str:
        now = self._governor
        holder = f"{now.holder_id!r} epoch={now.epoch}" if now.epoch else "nobody yet"
        return f"<Governance {holder} {'attached' if now.attached else 'away'} version={rules.version_in_force(now)}>"

    def start(self) -> None:
        """Begin to end what is not renewed."""
        assert self._thread is None
        self._unsubscribe = self._residency.subscribe(self._announce)
        self._thread = threading.Thread(target=self._end_in_time, name="governance", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop the thread; what is in force stays as it is."""
        with self._lock:
            self._closing = True
            self._lock.notify_all()
        if self._unsubscribe is not None:
            self._unsubscribe()
        if self._thread is not None:
            self._thread.join()

    def attach(self, greeting: Hello, *, on_superseded: Listener) -> int:
        """Let a governor in and return its epoch; the stream of the one before is told that it is superseded.

        Raises CallerError GOVERNED or RESIDENCY_OFF.
        """
        self._refuse_if_fixed()
        with self._lock:
            before = self._governor
            self._governor = rules.hello(before, greeting, now_seconds=self._clock())
            epoch = self._governor.epoch
            told, self._on_superseded = self._on_superseded, on_superseded
            self._lock.notify_all()
        _log.info("governor_attached", epoch=epoch, holder_id=greeting.holder_id, display_name=greeting.display_name)
        if told is not None:
            _log.info("governor_superseded", epoch=before.epoch, holder_id=before.holder_id, by=greeting.holder_id)
            told()
        self._announce()
        return epoch

    def detach(self, epoch: int) -> None:
        """Note that a governor's stream ended; its directive stays in force until its time runs out."""
        with self._lock:
            before = self._governor
            self._governor = rules.leave(before, epoch)
            if self._governor is before:
                return
            self._on_superseded = None
            self._lock.notify_all()
        _log.info("governor_left", epoch=epoch, holder_id=before.holder_id)
        self._announce()

    def direct(self, directive: Directive, *, stream_epoch: int) -> None:
        """Put a directive in force as a whole, or raise CallerError and change nothing.

        What operators placed before ends with it: while it is in force, nobody could take that back.
        """
        self._refuse_if_fixed()
        ended: tuple[ModuleName, ...] = ()
        with self._lock:
            accepted, effect = rules.direct(
                self._governor, directive, stream_epoch=stream_epoch, now_seconds=self._clock()
            )
            if effect is Effect.APPLY:
                ended = self._residency.set_directive(directive)
            self._governor = accepted
            self._lock.notify_all()
        if effect is Effect.APPLY:
            _log_accepted(directive)
            if ended:
                _log.warning("placements_ended", modules=list(ended), epoch=directive.epoch, version=directive.version)
            self._announce()

    def place(self, module: ModuleName, tier: Tier | None, *, timeout_seconds: float) -> tuple[ModuleStatus, str]:
        """Move a module for an operator, or raise CallerError GOVERNED while a governor's word counts."""
        self._refuse_if_fixed()
        rules.refuse_operator(self._governor, now_seconds=self._clock())
        return self._residency.place(module, tier, timeout_seconds=timeout_seconds)

    def trim(self, *, modules: bool, requested_by: str, timeout_seconds: float) -> TrimReport:
        """Give back what nobody misses, whoever governs: that places nothing. Raises CallerError RESIDENCY_OFF."""
        if modules:
            self._refuse_if_fixed()
        told = self._residency.trim(modules=modules, timeout_seconds=timeout_seconds)
        given = {each.kind.value: each.before_bytes - each.after_bytes for each in told.kinds}
        _log.info("memory_trimmed", requested_by=requested_by, modules=list(told.modules), given_back_bytes=given)
        return told

    def report(self, *, closely: bool = False) -> ResidencyReport:
        """Say what is and who governs; the manager's version numbers count only within the newest epoch."""
        # The governor is read first: a version that it knows has reached the manager.
        governor = self._governor
        report = self._residency.report(closely=closely)
        governed = rules.governs(governor, now_seconds=self._clock())
        version = rules.version_in_force(governor)
        return replace(
            report,
            epoch=governor.epoch if governed else 0,
            holder_id=governor.holder_id if governed else "",
            accepted_version=report.accepted_version if version else 0,
            applied_version=_applied_version(report, version),
        )

    def memory_report(self, max_samples: int) -> MemoryReport:
        """Say how memory was used."""
        return self._residency.memory_report(max_samples)

    def subscribe(self, callback: Listener) -> Listener:
        """Call back after every change, from any thread; the result ends that. Callbacks must be quick."""
        with self._listeners_lock:
            self._listeners = (*self._listeners, callback)

        def unsubscribe() -> None:
            with self._listeners_lock:
                self._listeners = tuple(known for known in self._listeners if known is not callback)

        return unsubscribe

    def tick(self) -> None:
        """End what has run out by now."""
        with self._lock:
            governor, ended = rules.expire(self._governor, now_seconds=self._clock())
            changed = governor is not self._governor
            if ended is not None:
                self._residency.set_directive(None)
            self._governor = governor
        if ended is not None:
            _log.warning("directive_expired", epoch=ended.epoch, version=ended.version, holder_id=governor.holder_id)
        if changed:
            self._announce()

    def _refuse_if_fixed(self) -> None:
        if self._fixed:
            words = "modules of this service never move: residency is switched off in its configuration"
            raise CallerError(Reason.RESIDENCY_OFF, words, metadata={"setting": "residency.enabled"})

    def _end_in_time(self) -> None:
        while self._wait_for_end():
            try:
                self.tick()
            except Exception:  # noqa: BLE001 - the thread must outlive whatever the manager does.
                # The word is still in force: it ends at the next try, and nothing else here depends on it.
                _log.exception("directive_expiry_failed")
                with self._lock:
                    self._lock.wait_for(lambda: self._closing, RETRY_SECONDS)

    def _wait_for_end(self) -> bool:
        """Wait until something runs out; False when it is time to go."""
        with self._lock:
            while not self._closing:
                end_seconds = rules.next_end_seconds(self._governor)
                rest_seconds = None if end_seconds is None else end_seconds - self._clock()
                if rest_seconds is not None and rest_seconds <= 0:
                    return True
                self._lock.wait(rest_seconds)
            return False

    def _announce(self) -> None:
        for listener in self._listeners:
            listener()


def _applied_version(report: ResidencyReport, version: int) -> int:
    """Return the applied version unless it is another epoch's, which would look newer than what is in force."""
    return report.applied_version if version and report.applied_version <= report.accepted_version else 0


def _log_accepted(directive: Directive) -> None:
    _log.info(
        "directive_accepted",
        epoch=directive.epoch,
        version=directive.version,
        valid_for_seconds=directive.valid_for_seconds,
        budget_bytes=directive.budget_bytes,
        placements={placement.module: placement.tier.name for placement in directive.placements},
        reason=directive.reason,
    )
