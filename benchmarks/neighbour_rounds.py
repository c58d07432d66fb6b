"""What the hog does to a machine, round by round, and what each of its steps met.

A *low* round takes memory below `low` and waits. A *march* takes a step no larger than `critical` again and again, each
a period and 150 ms after the one before: first for as long as what speech does not need suffices, then on until the
service has nothing left to give. Never past that: what fails then shows nothing. A *spare* round is a march that ends
while speech still has all that it needs, and then listens: whole utterances have to be heard there as if nobody were
beside. Everything is given back in the end, and modules have to be where they were before the next round begins.
"""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from benchmarks.neighbour_machines import MB, Machine
from greenroom.memory.v1 import residency_pb2

REACTION_SECONDS: Final = 0.15
PATIENCE_SECONDS: Final = 5.0
"""In a rehearsal, where the machine may be busy, a step waits so long for the answer to the one before."""

STEPS_MAXIMUM: Final = 16
HOME_SECONDS: Final = 20.0
LONGEST_PERIOD_SECONDS: Final = 1.2
"""The daemon may look that late at memory of which there was much."""

ANSWER_SECONDS: Final = 0.6
HEARD_UTTERANCES: Final = 2
HEARD_SECONDS: Final = 30.0
"""So long a spare round waits for as many utterances that begin and end in it."""
LOOKS: Final = 10
LOOK_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The daemon's marks and times, and the hog's steps; `patient`: a step waits for the one before, not for a time."""

    critical_bytes: int
    low_bytes: int
    high_bytes: int
    step_bytes: int
    period_seconds: float
    grace_seconds: float
    patient: bool

    @property
    def interval_seconds(self) -> float:
        """Return the time between two steps."""
        return self.period_seconds + REACTION_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One allocation: what was free before, what the service's modules held, and the driver's status.

    `part` is fill, low, idle (speech is not touched) or speech (it is); `late_seconds`: it came so much later than its
    time, because a rehearsal is patient.
    """

    unix_seconds: float
    part: str
    round: int
    size_bytes: int
    free_bytes: int
    held_bytes: int
    status: int
    late_seconds: float = 0.0


class Rounds:
    """Leads the hog, and keeps what it did."""

    def __init__(self, machine: Machine, plan: Plan) -> None:
        self.steps: list[Step] = []
        self.rounds: list[dict[str, Any]] = []
        self.frees: list[float] = []
        self._machine = machine
        self._plan = plan
        self._wanted = {each.module for each in _at_home(machine.report()) if each.uses}
        self._speech = _speaking(machine)

    def __repr__(self) -> str:
        return f"<Rounds {len(self.rounds)} | {len(self.steps)} steps>"

    def low(self) -> None:
        """Go between `critical` and `low`, and wait for longer than the grace."""
        begun = self._begin("low")
        self._fill(self._plan.high_bytes + self._plan.step_bytes // 2)
        self._fill((self._plan.critical_bytes + self._plan.low_bytes) // 2, part="low")
        self._settle(self._plan.grace_seconds + ANSWER_SECONDS)
        self._end(begun, stayed=self._moved_speech() == begun["moved"])

    def spare(self) -> None:
        """Take what speech does not need, step by step, and listen."""
        begun = self._begin("spare")
        self._fill(self._plan.high_bytes + self._plan.step_bytes // 2)
        self._steps("idle", self._spares_speech)
        since = begun["begin_unix_seconds"]
        self._wait(lambda: self._heard_since(since) >= HEARD_UTTERANCES, HEARD_SECONDS)
        heard, stayed = self._heard_since(since), self._moved_speech() == begun["moved"]
        self._end(begun, stayed=stayed, heard_utterances=heard)

    def march(self) -> None:
        """Take what there is, step by step."""
        begun = self._begin("march")
        self._fill(self._plan.high_bytes + self._plan.step_bytes // 2)
        self._steps("idle", self._spares_speech)
        stayed = self._moved_speech() == begun["moved"]
        gave_way, waits = time.time(), self._machine.waits()
        self._steps("speech", self._can_give)
        left = _home_bytes(self._machine.report())
        self._end(begun, stayed=stayed, gave_way_unix_seconds=gave_way, waits_before=waits, left_bytes=left)

    def _begin(self, kind: str) -> dict[str, Any]:
        self._machine.hog.free_all()
        return {"kind": kind, "begin_unix_seconds": time.time(), "moved": self._moved_speech()}

    def _end(self, begun: dict[str, Any], **found: Any) -> None:
        """Give everything back, wait for modules to be where they were, and keep what was seen."""
        waits_before = found.pop("waits_before", None)
        freed = time.time()
        self._machine.hog.free_all()
        self.frees.append(freed)
        at_home = self._wait(lambda: not self._away(), HOME_SECONDS)
        kept = {name: value for name, value in begun.items() if name != "moved"} | found
        kept |= {
            "end_unix_seconds": time.time(),
            "home_seconds": time.time() - freed if at_home else None,
            "away": sorted(self._away()),
        }
        if waits_before is not None:
            waits, seconds = self._machine.waits()
            kept |= {"waits": waits - waits_before[0], "wait_seconds": seconds - waits_before[1]}
        steps = [each for each in self.steps if each.round == len(self.rounds)]
        kept |= {"steps": len(steps), "failed": sum(each.status != 0 for each in steps)}
        self.rounds.append(kept)
        print(f"  round {len(self.rounds)}: {_words(kept)}", flush=True)

    def _fill(self, free_bytes: int, part: str = "fill") -> None:
        """Take all but so much at once, and let the daemon see it: the longest period is over then."""
        size_bytes = self._machine.watch.free_bytes() - free_bytes
        if size_bytes > 0:
            self._take(size_bytes, part)
        if part == "fill":
            self._settle(0.2 if self._plan.patient else LONGEST_PERIOD_SECONDS)

    def _steps(self, part: str, may_go_on: Callable[[int, residency_pb2.ResidencyReport], bool]) -> None:
        late_seconds = 0.0
        for _ in range(STEPS_MAXIMUM):
            if not may_go_on(self._machine.watch.free_bytes(), self._machine.report()):
                return
            self._take(self._plan.step_bytes, part, late_seconds)
            late_seconds = self._pause()

    def _take(self, size_bytes: int, part: str, late_seconds: float = 0.0) -> None:
        held_bytes = _home_bytes(self._machine.report())
        free_bytes = self._machine.watch.free_bytes()
        now = time.time()
        step = Step(
            unix_seconds=now,
            part=part,
            round=len(self.rounds),
            size_bytes=size_bytes,
            free_bytes=free_bytes,
            held_bytes=held_bytes,
            status=self._machine.hog.take(size_bytes),
            late_seconds=late_seconds,
        )
        self.steps.append(step)
        if step.status:
            free = f"{free_bytes // MB} MB free, {held_bytes // MB} MB held"
            print(f"  {part}: a step of {size_bytes // MB} MB failed with {step.status}, {free}", flush=True)

    def _pause(self) -> float:
        """Wait for the next step's time; return by how much a rehearsal waited longer."""
        time.sleep(self._plan.interval_seconds)
        began = time.monotonic()
        if self._plan.patient:
            self._wait(self._answered, PATIENCE_SECONDS)
        return time.monotonic() - began

    def _answered(self) -> bool:
        free_bytes = self._machine.watch.free_bytes()
        return free_bytes >= self._plan.critical_bytes or not self._can_give(free_bytes, self._machine.report())

    def _settle(self, seconds: float) -> None:
        """Wait, in a rehearsal until nothing is to be done below `low` any more."""
        time.sleep(seconds)
        if self._plan.patient:
            enough = self._plan.low_bytes
            self._wait(lambda: self._machine.watch.free_bytes() >= enough, PATIENCE_SECONDS)

    def _spares_speech(self, free_bytes: int, report: residency_pb2.ResidencyReport) -> bool:
        """Tell whether what speech does not need suffices for the answer to one more step."""
        idle_bytes = sum(each.home_bytes for each in _at_home(report) if each.module not in self._speech)
        left_bytes = free_bytes - self._plan.step_bytes
        enough = left_bytes >= self._plan.critical_bytes or left_bytes + idle_bytes >= self._plan.high_bytes
        return enough and free_bytes >= self._plan.step_bytes

    def _can_give(self, free_bytes: int, report: residency_pb2.ResidencyReport) -> bool:
        """Tell whether a step would fit if the service gave all but what one step of speech needs to go on."""
        held_bytes = _home_bytes(report)
        floor_bytes = max(each.home_bytes for each in report.modules)
        return held_bytes > 0 and free_bytes + held_bytes - floor_bytes >= self._plan.step_bytes

    def _away(self) -> set[str]:
        return self._wanted - {each.module for each in _at_home(self._machine.report())}

    def _moved_speech(self) -> int:
        return sum(each.evictions for each in self._machine.report().modules if each.module in self._speech)

    def _heard_since(self, unix_seconds: float) -> int:
        return sum(each.begin_unix_seconds >= unix_seconds for each in self._machine.speaker.utterances)

    @staticmethod
    def _wait(holds: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if holds():
                return True
            time.sleep(0.02)
        return holds()


def kept_steps(rounds: Rounds) -> list[dict[str, Any]]:
    """Return the steps as they are written."""
    return [asdict(each) for each in rounds.steps]


def _speaking(machine: Machine) -> set[str]:
    """Return the modules that speech claims or uses, as some reports in a row tell."""
    seen = []
    for _ in range(LOOKS):
        seen.append({each.module: (each.claims, each.uses) for each in machine.report().modules})
        time.sleep(LOOK_SECONDS)
    return {name for each in seen for name, (claims, uses) in each.items() if claims or uses != seen[0][name][1]}


def _at_home(report: residency_pb2.ResidencyReport) -> list[residency_pb2.ModuleStatus]:
    return [each for each in report.modules if each.tier == each.home]


def _home_bytes(report: residency_pb2.ResidencyReport) -> int:
    return sum(each.home_bytes for each in _at_home(report))


def _words(kept: dict[str, Any]) -> str:
    home = "not all came home" if kept["home_seconds"] is None else f"all home after {kept['home_seconds']:.1f} s"
    waits = f", {kept['waits']} waits of {kept['wait_seconds']:.2f} s" if "waits" in kept else ""
    waits += f", {kept['heard_utterances']} utterances" if "heard_utterances" in kept else ""
    speech = "speech untouched" if kept["stayed"] else "speech was TOUCHED"
    return f"{kept['kind']}, {kept['steps']} steps, {kept['failed']} failed, {speech}{waits}, {home}"
