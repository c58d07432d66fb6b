"""Tells a story to the door of admission in words, and hears what it answers: the commands of its scenario files.

`limits full=0.85` sets bounds. `one 0.1` says what one session takes of the fullest lane. `ask a client=x deadline=2
bulk` asks, `leave a` ends, `run 3` lets time pass while the queue is looked at every tenth of a second, `late 0.1` says
how much came too late, `beginning 6` how many begin.
"""

import shlex
from collections.abc import Callable
from dataclasses import replace

from tts_service.scheduling.admission import AdmissionLimits, Door, asked, left, looked_at, positions
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.verdicts import Admitted, Applicant, Queued, Refused, Verdict
from tts_service.scheduling.work import Priority

TENTH_SECONDS = 0.1


class AdmissionStory:
    """One door, and a machine whose load is the number of its interactive guests."""

    def __init__(self) -> None:
        self.now = 0.0
        self.door = Door()
        self.limits = AdmissionLimits()
        self._one = 0.1
        self._late = 0.0
        self._beginning = 0
        self._names: list[str] = []
        self._said: list[str] = []
        self._commands: dict[str, Callable[..., None]] = {
            "limits": self._limit,
            "one": lambda share: setattr(self, "_one", float(share)),
            "late": lambda share: setattr(self, "_late", float(share)),
            "beginning": lambda count: setattr(self, "_beginning", int(count)),
            "ask": self._ask,
            "leave": self._leave,
            "run": self._run,
            "queue": self._queue,
        }

    def tell(self, commands: tuple[str, ...]) -> tuple[str, ...]:
        """Do the commands of a block and return what the door said."""
        self._said = []
        for line in commands:
            if not line.startswith("#"):
                name, *words = shlex.split(line)
                plain = [word for word in words if "=" not in word]
                self._commands[name](*plain, **dict(word.split("=", 1) for word in words if "=" in word))
        return tuple(self._said) or ("ok",)

    def _standing(self) -> Standing:
        here = self.door.guests.of_priority.get(Priority.INTERACTIVE, 0)
        return Standing(
            load=here * self._one,
            load_with_one=(here + 1) * self._one,
            late_share=self._late,
            first_audio_seconds=0.2,
            beginning=self._beginning,
        )

    def _limit(self, **numbers: str) -> None:
        kinds = {name: type(getattr(self.limits, name)) for name in numbers}
        self.limits = replace(self.limits, **{name: kinds[name](number) for name, number in numbers.items()})

    def _ask(self, name: str, kind: str = "interactive", *, client: str = "x", deadline: str = "inf") -> None:
        self._names.append(name)
        applicant = Applicant(
            key=len(self._names) - 1,
            client=client,
            priority=Priority(kind),
            deadline=self.now + float(deadline),
        )
        self.door, verdict = asked(self.door, applicant, self._standing(), self.limits, self.now)
        self._say(verdict)

    def _leave(self, name: str) -> None:
        self.door = left(self.door, self._names.index(name), self.now)
        self._look()

    def _run(self, seconds: str) -> None:
        end = self.now + float(seconds)
        while self.now < end - 1e-9:
            self.now += TENTH_SECONDS
            self._look()

    def _look(self) -> None:
        let_in = True
        while let_in:
            self.door, said = looked_at(self.door, self._standing(), self.limits, self.now)
            for each in said:
                self._say(each)
            let_in = any(isinstance(each, Admitted) for each in said)

    def _queue(self) -> None:
        for each in positions(self.door, self._standing(), self.limits):
            self._say(each)

    def _say(self, verdict: Verdict) -> None:
        name = self._names[verdict.key]
        match verdict:
            case Admitted():
                text = "comes in"
            case Queued(position=position, wait_seconds=seconds):
                text = f"waits as number {position} for {seconds:.1f} s"
            case Refused(refusal=refusal, retry_after_seconds=seconds):
                text = f"is refused ({refusal.value}), again in {seconds:.1f} s"
        self._said.append(f"t={self.now:.1f} {name} {text}")

    def __repr__(self) -> str:
        return f"<AdmissionStory {self.now:.1f} s | {len(self.door.guests.by_key)} in, {len(self.door.queue)} wait>"
