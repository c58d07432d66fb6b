"""Predictions and budgets as the daemon tells them."""

from greenroom.memory.v1 import policy_pb2
from memory_daemon.board import DeviceStatus
from memory_daemon.ledger_messages import ledger_messages, tally_messages
from memory_daemon.predictions import Ground, Prediction, Predictions, Tally
from memory_daemon.types import HOST, DeviceId, MemorySample, ModuleName, Pressure, ServiceName

GPU = DeviceId("GPU-1")
ONE = Prediction(
    service=ServiceName("speech"),
    module=ModuleName("t3"),
    ground=Ground.TIME_OF_DAY,
    uses=1,
    until_unix_seconds=9.0,
)


def device(name: DeviceId, **values: object) -> DeviceStatus:
    """Return a device of which only what is told matters."""
    sample = MemorySample(device=name, seconds=1.0, unix_seconds=1.0, total_bytes=10, free_bytes=5)
    return DeviceStatus(sample=sample, pressure=Pressure.ROOM, marks=None, **values)  # type: ignore[arg-type]  # By name.


def test_tallies_of_devices_are_told_for_each_reason() -> None:
    """Every device has an entry for every reason, also where nothing was predicted yet."""
    predictions = Predictions(open=(ONE,), tallies={Ground.TIME_OF_DAY: Tally(hits=3, misses=1)})
    actual = list(tally_messages([device(HOST), device(GPU, predictions=predictions)]))

    assert [
        policy_pb2.PredictionTally(device="host", ground="lately_used"),
        policy_pb2.PredictionTally(device="host", ground="time_of_day"),
        policy_pb2.PredictionTally(device="GPU-1", ground="lately_used"),
        policy_pb2.PredictionTally(device="GPU-1", ground="time_of_day", hits=3, misses=1, open=["speech/t3"]),
    ] == actual


def test_ledger_is_told_of_devices_that_services_share() -> None:
    """A device that nobody has to share has none."""
    shared = device(GPU, budgets={ServiceName("a"): 5, ServiceName("b"): 7}, overdraft_bytes=2)
    actual = list(ledger_messages([device(HOST), shared]))

    assert [policy_pb2.Ledger(device="GPU-1", budget_bytes={"a": 5, "b": 7}, overdraft_bytes=2)] == actual
