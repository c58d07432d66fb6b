"""What holds at the door, whoever asks and leaves in whatever order."""

import math
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from tts_service.scheduling.admission import AdmissionLimits, Door, asked, left, looked_at, positions, wakes_at
from tts_service.scheduling.capacity import Standing
from tts_service.scheduling.verdicts import Admitted, Applicant, Queued, Refused
from tts_service.scheduling.work import Priority

LIMITS = AdmissionLimits(
    sessions=8,
    full=0.8,
    reopened=0.6,
    queue=3,
    queue_seconds=4.0,
    client_sessions=4,
    client_queue=2,
    bulk_sessions=2,
    most_retry_seconds=30.0,
)
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("ask"),
            st.sampled_from("xyz"),
            st.sampled_from(Priority),
            st.just(math.inf) | st.floats(min_value=0.0, max_value=10.0),
        ),
        st.tuples(st.just("leave"), st.integers(min_value=0, max_value=40)),
        st.tuples(st.just("run"), st.floats(min_value=0.01, max_value=5.0)),
        st.tuples(st.just("late"), st.sampled_from([0.0, 0.03, 0.2])),
    ),
    max_size=60,
)


@dataclass
class Course:
    """A door, and all that was said at it."""

    door: Door = field(default_factory=Door)
    now: float = 0.0
    late_share: float = 0.0
    keys: int = 0
    applicants: dict[int, Applicant] = field(default_factory=dict)
    asked_at: dict[int, float] = field(default_factory=dict)

    def standing(self) -> Standing:
        """Return a load of a seventh for every interactive guest."""
        here = self.door.guests.of_priority.get(Priority.INTERACTIVE, 0)
        return Standing(load=here / 7, load_with_one=(here + 1) / 7, late_share=self.late_share)

    def take(self, step: tuple[object, ...]) -> None:
        """Let one thing happen, and check what must hold of it."""
        match step:
            case "ask", str(client), Priority() as priority, float(patience):
                self.ask(client, priority, patience)
            case "leave", int(number):
                inside = sorted({*self.door.guests.by_key, *(place.applicant.key for place in self.door.queue)})
                if inside:
                    self.door = left(self.door, inside[number % len(inside)], self.now)
                self.look()
            case "run", float(seconds):
                end = self.now + seconds
                while (wakes := wakes_at(self.door, self.standing(), LIMITS)) <= end:
                    self.now = max(self.now, wakes)
                    self.look()
                self.now = end
                self.look()
            case "late", float(share):
                self.late_share = share

    def ask(self, client: str, priority: Priority, patience: float) -> None:
        """Ask, and check the answer against what stood before."""
        self.keys += 1
        applicant = Applicant(key=self.keys, client=client, priority=priority, deadline=self.now + patience)
        self.applicants[self.keys], self.asked_at[self.keys] = applicant, self.now
        before, standing = self.door, self.standing()
        self.door, verdict = asked(before, applicant, standing, LIMITS, self.now)
        match verdict:
            case Admitted():
                self.check_entry(applicant, before, standing)
            case Queued(wait_seconds=seconds):
                assert seconds <= LIMITS.queue_seconds
                assert self.now + seconds + standing.first_audio_seconds <= applicant.deadline
            case Refused(retry_after_seconds=seconds):
                assert LIMITS.least_retry_seconds <= seconds <= LIMITS.most_retry_seconds
                assert (before.guests, before.queue) == (self.door.guests, self.door.queue)

    def look(self) -> None:
        """Let in who may come in."""
        while True:
            before, standing = self.door, self.standing()
            self.door, said = looked_at(before, standing, LIMITS, self.now)
            let_in = [each for each in said if isinstance(each, Admitted)]
            for each in let_in:
                self.check_entry(self.applicants[each.key], before, standing)
                assert self.applicants[each.key].deadline > self.now
            if not let_in:
                return

    def check_entry(self, applicant: Applicant, before: Door, standing: Standing) -> None:
        """Check that somebody who comes in has room, and did not slip through a door that is shut."""
        assert standing.late_share <= LIMITS.late_share
        if applicant.priority is Priority.INTERACTIVE:
            assert standing.load_with_one <= LIMITS.full
            assert not before.shut or standing.load <= LIMITS.reopened

    def check(self) -> None:
        """Check the bounds, and that the counts are those of who is here."""
        guests = self.door.guests
        clients = [guest.client for guest in guests.by_key.values()]
        assert {client: clients.count(client) for client in set(clients)} == guests.of_client
        assert all(count <= LIMITS.client_sessions for count in guests.of_client.values())
        assert guests.of_priority.get(Priority.BULK, 0) <= LIMITS.bulk_sessions
        assert len(guests.by_key) <= LIMITS.sessions
        assert len(self.door.queue) <= LIMITS.queue
        waiting = [place.applicant.priority for place in self.door.queue]
        assert waiting == sorted(waiting, key=lambda priority: priority is Priority.BULK)
        assert not {place.applicant.key for place in self.door.queue} & set(guests.by_key)
        assert all(self.now - place.since <= LIMITS.queue_seconds for place in self.door.queue)
        assert list(range(1, len(waiting) + 1)) == [
            each.position for each in positions(self.door, self.standing(), LIMITS)
        ]


@given(steps=STEPS)
@settings(deadline=None, max_examples=150)
def test_door_keeps_its_bounds_on_every_course(steps: list[tuple[object, ...]]) -> None:
    """Room for all who come in, a queue that is short and in order, honest answers, and counts that are right."""
    course = Course()
    for step in steps:
        course.take(step)
        course.check()

    assert course.keys == sum(step[0] == "ask" for step in steps)


@given(count=st.integers(min_value=1, max_value=30))
@settings(deadline=None, max_examples=20)
def test_those_who_are_refused_are_told_times_one_after_the_other(count: int) -> None:
    """As long as places are expected within what may be told; and all within it."""
    course = Course()
    for client in "xyxyx":
        course.ask(client, Priority.INTERACTIVE, math.inf)
    told = []
    for number in range(count):
        applicant = Applicant(key=100 + number, client="z")
        course.door, verdict = asked(course.door, applicant, course.standing(), LIMITS, 0.0)
        assert isinstance(verdict, Refused)
        told.append(verdict.retry_after_seconds)
    before_the_bound = [seconds for seconds in told[:2] if seconds < LIMITS.most_retry_seconds / 2]

    assert before_the_bound == sorted(set(before_the_bound))
    assert len(set(told)) == len(told)


def test_door_between_the_marks_stays_as_it_is() -> None:
    """It is shut at `full`, stays shut when one leaves, and opens below `reopened`."""
    limits = AdmissionLimits(full=0.8, reopened=0.5, queue=0)
    door, verdicts = Door(), []
    for key, load in enumerate((0.75, 0.85, 0.7, 0.55, 0.45, 0.55)):
        standing = Standing(load=load, load_with_one=load + 0.01)
        door, verdict = asked(door, Applicant(key=key, client="x"), standing, limits, 0.0)
        verdicts.append(isinstance(verdict, Admitted))

    assert [True, False, False, False, True, True] == verdicts
