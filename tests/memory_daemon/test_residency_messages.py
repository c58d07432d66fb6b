"""Residency's messages and values: nothing is lost on the way, and newer words are survived."""

from greenroom.memory.v1 import residency_pb2
from memory_daemon.residency_messages import (
    directive_message,
    hello_message,
    report_message,
    report_of,
    trim_answer_of,
    welcome_of,
)
from memory_daemon.types import (
    Authority,
    Device,
    DeviceId,
    Directive,
    ModuleName,
    ModuleState,
    ModuleStatus,
    PendingMove,
    Placement,
    ResidencyReport,
    Tier,
    TierBytes,
    Urgency,
    Wish,
)
from memory_daemon.usage import DeviceUsage, TrimAnswer

STATUS = ModuleStatus(
    module=ModuleName("t3"),
    home=Tier.DEVICE,
    tier=Tier.HOST,
    state=ModuleState.RESTORING,
    held=(TierBytes(tier=Tier.HOST, size_bytes=5),),
    home_bytes=6,
    leases=1,
    claims=2,
    uses=3,
    last_use_unix_seconds=1_700_000_000.25,
    restore_seconds=0.5,
    evict_seconds=0.25,
    authority=Authority.DEMAND,
    restores=4,
    evictions=5,
    pinned=True,
    rest=Tier.HOST,
)
REPORT = ResidencyReport(
    unix_seconds=1_700_000_001.5,
    modules=(STATUS, ModuleStatus(module=ModuleName("never used"), home=Tier.HOST, tier=Tier.DISK)),
    budget_bytes=0,
    home_bytes=2,
    applied_version=3,
    accepted_version=4,
    pending_moves=(PendingMove(module=ModuleName("t3"), tier=Tier.DEVICE, reason="budget"),),
    sessions=5,
    queued_utterances=6,
    usage=DeviceUsage(
        reserved_bytes=9, allocated_bytes=5, arena_bytes=3, scratch_bytes=1, free_bytes=0, pinned_host_bytes=2
    ),
    process_bytes=7,
    released_bytes=8,
    epoch=9,
    holder_id="h",
    restore_waits=10,
    restore_wait_seconds=11.5,
    largest_step_bytes=12,
)


def test_report_there_and_back_is_the_same() -> None:
    """A report keeps every field, a budget of nothing included, and what is absent stays absent."""
    assert REPORT == report_of(report_message(REPORT))


def test_report_without_a_budget_has_none() -> None:
    """No bound is not a bound of 0."""
    assert report_of(residency_pb2.ResidencyReport()).budget_bytes is None


def test_report_with_newer_words_is_understood_as_far_as_it_goes() -> None:
    """An unknown state is unknown, and a module in a tier without a name is left out."""
    message = report_message(REPORT)
    message.modules[0].state = 99  # type: ignore[assignment]
    message.modules[0].authority = 99  # type: ignore[assignment]
    message.modules[1].tier = residency_pb2.TIER_UNSPECIFIED
    actual = report_of(message).modules

    assert [("t3", ModuleState.UNKNOWN, Authority.UNKNOWN)] == [
        (status.module, status.state, status.authority) for status in actual
    ]


def test_welcome_is_read_with_its_devices() -> None:
    """A welcome tells reign, instance, name, protocol and what the service computes in."""
    message = residency_pb2.Welcome(
        epoch=3,
        service_instance_id="i",
        protocol_version=1,
        service_name="speech",
        devices=[residency_pb2.Device(id="GPU-0", tier=residency_pb2.TIER_DEVICE, display_name="H100")],
        report=report_message(REPORT),
    )
    actual = welcome_of(message)

    assert (3, "i", "speech", 1, REPORT) == (
        actual.epoch,
        actual.instance_id,
        actual.service_name,
        actual.protocol_version,
        actual.report,
    )
    assert (Device(device=DeviceId("GPU-0"), tier=Tier.DEVICE, display_name="H100"),) == actual.devices


def test_directive_says_everything_that_is_wanted() -> None:
    """Epoch, version, life, budget, placements with urgency, and why."""
    placement = Placement(module=ModuleName("t3"), tier=Tier.DISK, urgency=Urgency.WHEN_UNLEASED)
    directive = Directive(
        version=2,
        wish=Wish(placements=(placement,), budget_bytes=7),
        valid_for_seconds=2.5,
        renewal_seconds=1.0,
        reason="low",
    )
    actual = directive_message(5, directive).directive

    assert (5, 2, 2_500_000_000, 7, "low") == (
        actual.epoch,
        actual.version,
        actual.valid_for.ToNanoseconds(),
        actual.budget_bytes,
        actual.reason,
    )
    assert [("t3", residency_pb2.TIER_DISK, residency_pb2.URGENCY_WHEN_UNLEASED)] == [
        (one.module, one.tier, one.urgency) for one in actual.placements
    ]


def test_directive_without_a_budget_names_none() -> None:
    """The service keeps its own budget unless it is given one."""
    directive = Directive(version=1, wish=Wish(), valid_for_seconds=2.0, renewal_seconds=0.5)

    assert not directive_message(1, directive).directive.HasField("budget_bytes")


def test_hello_introduces_this_daemon() -> None:
    """Name, display name and whether to take over."""
    hello = hello_message("h", "me", takeover=True).hello

    assert ("h", "me", True) == (hello.holder_id, hello.display_name, hello.takeover)


def test_trim_answer_tells_what_the_allocator_gave_and_what_it_could_not() -> None:
    """Only what the allocator kept counts: scratch memory shows in what modules released."""
    message = residency_pb2.TrimMemoryResponse(
        kinds=[
            residency_pb2.TrimmedMemory(kind=residency_pb2.MEMORY_KIND_SCRATCH, before_bytes=900, after_bytes=0),
            residency_pb2.TrimmedMemory(
                kind=residency_pb2.MEMORY_KIND_DEVICE_CACHE, before_bytes=500, after_bytes=100, obstacle="shared blocks"
            ),
        ]
    )

    assert TrimAnswer(number=7, released_bytes=400, left_bytes=100, obstacle="shared blocks") == trim_answer_of(
        7, message
    )


def test_trim_answer_of_a_service_without_a_device_is_nothing() -> None:
    """Where nothing of the kind is told, nothing was given back, and nothing is left."""
    assert TrimAnswer(number=1, released_bytes=0, left_bytes=0) == trim_answer_of(1, residency_pb2.TrimMemoryResponse())
