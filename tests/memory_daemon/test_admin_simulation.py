"""SimulatePolicy over a real socket: a trace in pieces, or the daemon's own journal, and every refusal."""

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from greenroom.memory.v1 import policy_pb2
from tests.fakes.policy_desk import Desk, refusal
from tests.fakes.trace_stories import lines, told

TIMEOUT_SECONDS = 60.0
PIECE_BYTES = 30_000
STORY = b"".join(lines(told("gpu_lost")))


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """Give a desk with the daemon's API."""
    found = Desk(tmp_path)
    yield found
    found.close()


def requests(
    *candidates: policy_pb2.Candidate, trace: bytes = STORY, rivals: bool = False
) -> Iterator[policy_pb2.SimulatePolicyRequest]:
    """Yield the messages of one simulation."""
    config = policy_pb2.SimulationConfig(candidates=candidates, rivals=rivals)
    yield policy_pb2.SimulatePolicyRequest(config=config)
    for start in range(0, len(trace), PIECE_BYTES):
        yield policy_pb2.SimulatePolicyRequest(trace=trace[start : start + PIECE_BYTES])


def outcomes(desk: Desk, *candidates: policy_pb2.Candidate, **how: object) -> dict[str, policy_pb2.Outcome]:
    """Return what came of each policy on the one device of the story."""
    response = desk.stub.SimulatePolicy(requests(*candidates, **how), timeout=TIMEOUT_SECONDS)
    (trial,) = response.trials
    return {outcome.name: outcome for outcome in trial.outcomes}


def test_simulation_of_a_trace_tells_every_policy_beside_what_was(desk: Desk) -> None:
    """What was recorded, the policy in force, the candidates and the rivals, in this order."""
    mine = policy_pb2.Candidate(
        name="mine", policy=policy_pb2.Policy(low=policy_pb2.Mark(bytes=1)), policy_mask=FieldMask(paths=["low"])
    )
    mine.policy.critical.bytes = 1
    mine.policy_mask.paths.append("critical")
    found = outcomes(desk, mine, policy_pb2.Candidate(name="shy", profile="neighbour-first"), rivals=True)

    assert ["recorded", "in force", "mine", "shy", "none", "threshold", "idle timeout", "evict everything"] == list(
        found
    )
    assert found["mine"].sent_away == 0 < found["shy"].sent_away


def test_simulation_without_a_trace_takes_the_daemons_own_journal(desk: Desk, tmp_path: Path) -> None:
    """An operator need not carry the journal about."""
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / "journal.jsonl").write_bytes(STORY)

    assert "in force" in outcomes(desk, trace=b"")


def test_simulation_counts_what_it_could_not_read(desk: Desk) -> None:
    """Damage costs the damaged line and is told."""
    response = desk.stub.SimulatePolicy(requests(trace=b"garbage\n" + STORY), timeout=TIMEOUT_SECONDS)

    assert (1, 1) == (response.unreadable_lines, len(response.trials))


@pytest.mark.parametrize(
    ("candidates", "field"),
    [
        pytest.param([policy_pb2.Candidate(name="a b")], "config.candidates[0].name", id="a bad name"),
        pytest.param([policy_pb2.Candidate(name="a")] * 2, "config.candidates[1].name", id="a name twice"),
        pytest.param([policy_pb2.Candidate(name="a", profile="bold")], "config.candidates[0].profile", id="no profile"),
        pytest.param(
            [policy_pb2.Candidate(name="a", policy_mask=FieldMask(paths=["speed"]))],
            "config.candidates[0].policy_mask",
            id="no number",
        ),
        pytest.param([policy_pb2.Candidate(name=f"n{n}") for n in range(9)], "config.candidates", id="too many"),
    ],
)
def test_simulation_of_a_bad_candidate_is_refused(
    desk: Desk, candidates: list[policy_pb2.Candidate], field: str
) -> None:
    """A refusal names the field that is at fault."""
    with pytest.raises(grpc.RpcError) as caught:
        outcomes(desk, *candidates)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", [field]) == refusal(caught.value)


def test_simulation_of_no_journal_is_refused(desk: Desk) -> None:
    """What has no reading of memory cannot be replayed."""
    with pytest.raises(grpc.RpcError) as caught:
        outcomes(desk, trace=b"garbage\n")

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", ["trace"]) == refusal(caught.value)


def test_simulation_that_begins_with_its_trace_is_refused(desk: Desk) -> None:
    """The configuration comes first."""
    with pytest.raises(grpc.RpcError) as caught:
        desk.stub.SimulatePolicy(iter([policy_pb2.SimulatePolicyRequest(trace=b"x")]), timeout=TIMEOUT_SECONDS)

    assert (grpc.StatusCode.INVALID_ARGUMENT, "BAD_CONFIG", ["config"]) == refusal(caught.value)
