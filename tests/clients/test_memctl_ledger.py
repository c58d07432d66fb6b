"""Predictions and budgets as an operator reads them."""

from greenroom.memory.v1 import policy_pb2
from memctl.documents import status_document
from memctl.ledger_tables import foresight_lines, ledger_lines
from memctl.ledger_types import Ledger, PredictionTally
from memctl.policy_wire import status_of

RESPONSE = policy_pb2.WatchStatusResponse(
    predictions=[
        policy_pb2.PredictionTally(device="GPU-1", ground="lately_used", hits=4, misses=1),
        policy_pb2.PredictionTally(device="GPU-1", ground="time_of_day", misses=2, open=["speech/t3"]),
        policy_pb2.PredictionTally(device="GPU-2", ground="time_of_day"),
    ],
    ledgers=[
        policy_pb2.Ledger(device="GPU-1", budget_bytes={"b": 3 * 2**30, "a": 2**30}, overdraft_bytes=2**20),
    ],
)


def test_status_tells_predictions_and_ledgers() -> None:
    """What the daemon tells of both arrives whole, services in the order of their names."""
    status = status_of(RESPONSE)

    assert (
        PredictionTally(device="GPU-1", ground="time_of_day", hits=0, misses=2, open=("speech/t3",))
        == status.predictions[1]
    )
    assert (Ledger(device="GPU-1", budget_bytes={"a": 2**30, "b": 3 * 2**30}, overdraft_bytes=2**20),) == status.ledgers


def test_predictions_are_told_where_there_were_any() -> None:
    """A line says for each reason how many came true, and how many are not decided yet."""
    actual = [line.plain for line in foresight_lines(status_of(RESPONSE).predictions)]

    assert [
        "GPU-1      brought back ahead of need: used lately 4 of 5 used; used at this time of day 0 of 2 used, 1 open"
    ] == actual


def test_budgets_are_told_with_what_the_floors_promise_too_much() -> None:
    """A line names every service's budget, and says when the floors cannot be kept."""
    actual = [line.plain for line in ledger_lines(status_of(RESPONSE).ledgers)]

    assert ["GPU-1      budgets: a 1.0 GiB, b 3.0 GiB  floors promise 1.0 MiB too much"] == actual


def test_document_of_a_status_has_both() -> None:
    """Scripts read the same from JSON."""
    document = status_document(status_of(RESPONSE), 1.0)

    assert (4, 2**20) == (document["predictions"][0]["hits"], document["ledgers"][0]["overdraft_bytes"])
