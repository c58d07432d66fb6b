"""Eight stories as traces: seeded, written as a journal, with everything at home and memory as others want it.

In these journals free memory may be below zero: others want more than there is. What a policy does about it is what a
simulation finds out.
"""

import random
from collections.abc import Callable, Iterator

from memory_daemon.journal_records import Demanded, Entry, Record, Reported, Sampled, ServiceChanged, line_of
from memory_daemon.types import (
    DeviceId,
    ModuleName,
    ModuleStatus,
    Pressure,
    ResidencyReport,
    ServiceName,
    Tier,
)

START_UNIX_SECONDS = 1_700_000_000.0
GPU = DeviceId("GPU-0")
TOTAL_BYTES = 24_000_000_000
MIB = 2**20
MODULES_MIB = {
    "t3": 2031,
    "s3gen.flow": 429,
    "s3gen.vocoder": 79,
    "s3gen.tokenizer": 472,
    "s3gen.speaker_encoder": 26,
    "voice_encoder": 5,
    "watermark.encoder": 9,
    "watermark.detector": 27,
}
"""What the modules weigh, as measured."""
SPOKEN = {"t3": 125, "s3gen.flow": 6, "s3gen.vocoder": 6, "watermark.encoder": 6}
"""What one utterance of five seconds uses."""
CLONED = {"s3gen.tokenizer": 1, "s3gen.speaker_encoder": 1, "voice_encoder": 1}
RESTORE_BYTES_PER_SECOND = 48.8e9


class Teller:
    """Writes one story; time goes on with every line."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.entries: list[Entry] = []
        self.others_bytes = 0
        self._held: dict[ServiceName, int] = {}

    def __repr__(self) -> str:
        return f"<Teller {len(self.entries)} entries>"

    def write(self, seconds: float, record: Record) -> None:
        """Write a record at a time of the story."""
        self.entries.append(Entry(unix_seconds=round(START_UNIX_SECONDS + seconds, 3), record=record))

    def service(self, seconds: float, name: str, *, instance: int = 1) -> None:
        """Let a service come, with all its modules at home."""
        service = ServiceName(name)
        unix_seconds = round(START_UNIX_SECONDS + seconds, 3)
        self.write(seconds, _changed(service, governed=True, instance=instance))
        report = ResidencyReport(unix_seconds=unix_seconds, modules=modules())
        self._held[service] = sum(status.home_bytes for status in report.modules)
        self.write(seconds, Reported(service=service, device=GPU, report=report))

    def gone(self, seconds: float, name: str) -> None:
        """Let a service go."""
        self._held.pop(ServiceName(name))
        self.write(seconds, _changed(ServiceName(name), governed=False, instance=1))

    def others(self, seconds: float, gigabytes: float) -> None:
        """Let others want so much."""
        free_bytes = round(TOTAL_BYTES - gigabytes * 1e9 - sum(self._held.values()))
        self.write(
            seconds, Sampled(device=GPU, pressure=Pressure.STEADY, total_bytes=TOTAL_BYTES, free_bytes=free_bytes)
        )

    def unreadable(self, seconds: float, reason: str, *, lost: bool) -> None:
        """Let memory be unreadable."""
        self.write(seconds, Sampled(device=GPU, pressure=Pressure.UNKNOWN, error=reason, lost=lost))

    def speak(self, seconds: float, name: str = "speech", *, lasts_seconds: float = 5.0) -> None:
        """Let an utterance be spoken."""
        claims = {ModuleName(module): 1 for module in SPOKEN}
        third = {module: times // 3 for module, times in SPOKEN.items()}
        for part in range(3):
            self.write(seconds + part * lasts_seconds / 3, _demanded(name, third, claims))
        self.write(seconds + lasts_seconds, _demanded(name, {}, {}))

    def clone(self, seconds: float, name: str = "speech") -> None:
        """Let a voice be created."""
        self.write(seconds, _demanded(name, CLONED, {}))

    def talk(self, since_seconds: float, until_seconds: float, every_seconds: float, name: str = "speech") -> None:
        """Let utterances come at random, so often on average."""
        seconds = since_seconds + self.random.expovariate(1 / every_seconds)
        while seconds < until_seconds:
            self.speak(seconds, name)
            seconds += max(6.0, self.random.expovariate(1 / every_seconds))


def modules() -> tuple[ModuleStatus, ...]:
    """Return the modules of a service, all at home."""
    return tuple(
        ModuleStatus(
            module=ModuleName(name),
            home=Tier.DEVICE,
            tier=Tier.DEVICE,
            home_bytes=size * MIB,
            restore_seconds=round(0.0005 + size * MIB / RESTORE_BYTES_PER_SECOND, 6),
        )
        for name, size in MODULES_MIB.items()
    )


def _changed(service: ServiceName, *, governed: bool, instance: int) -> ServiceChanged:
    return ServiceChanged(
        service=service,
        device=GPU,
        governed=governed,
        reason="" if governed else "connecting",
        epoch=instance,
        instance_id=f"{service}-{instance}",
    )


def _demanded(name: str, uses: dict[str, int], claims: dict[ModuleName, int]) -> Demanded:
    return Demanded(
        service=ServiceName(name),
        uses={ModuleName(module): times for module, times in uses.items()},
        restore_waits=0,
        restore_wait_seconds=0.0,
        claims=claims,
    )


def burst_of_a_language_model(teller: Teller) -> None:
    """Let a language model beside us fill its cache within seconds, three times."""
    teller.service(0, "speech")
    teller.others(0, 14)
    teller.talk(1, 300, 9)
    for start in (40, 120, 220):
        for step in range(20):
            teller.others(start + step * 0.1, 14 + step * 0.38)
        teller.others(start + 45 + teller.random.uniform(0, 10), 14)
    teller.others(300, 14)


def slow_leak(teller: Teller) -> None:
    """Let a neighbour leak a gigabyte a minute until it is restarted."""
    teller.service(0, "speech")
    teller.talk(1, 600, 12)
    for step in range(100):
        teller.others(step * 5.0, 13 + step * 0.082 + teller.random.uniform(-0.02, 0.02))
    teller.others(500, 13)
    teller.others(600, 13)


def square_wave(teller: Teller) -> None:
    """Let a neighbour take and give back seven gigabytes, every twenty seconds."""
    teller.service(0, "speech")
    teller.talk(1, 400, 15)
    for wave in range(20):
        teller.others(wave * 20.0, 20)
        teller.others(wave * 20.0 + 10, 13)
    teller.others(400, 13)


def two_services(teller: Teller) -> None:
    """Let two services share the device; they are busy in turn, and a neighbour presses on both."""
    teller.service(0, "speech")
    teller.service(0.5, "voices")
    teller.others(0.5, 13)
    teller.talk(1, 150, 7)
    teller.talk(150, 300, 7, "voices")
    teller.clone(160, "voices")
    for start in (60, 200):
        teller.others(start, 17.2)
        teller.others(start + 50, 13)
    teller.others(300, 13)


def gpu_lost(teller: Teller) -> None:
    """Let the device fall off the bus while memory is low, and the service start anew after a reset."""
    teller.service(0, "speech")
    teller.talk(1, 60, 8)
    teller.others(0, 13)
    teller.others(40, 19.6)
    teller.unreadable(60, "GPU is lost", lost=True)
    teller.gone(62, "speech")
    teller.others(130, 8)
    teller.service(135, "speech", instance=2)
    teller.talk(140, 240, 8)
    teller.others(240, 8)


def driver_restart(teller: Teller) -> None:
    """Let the driver be updated: nothing can be read for a while, and the service comes back with it."""
    teller.service(0, "speech")
    teller.talk(1, 90, 8)
    teller.others(0, 19.6)
    teller.unreadable(100, "Driver/library version mismatch", lost=False)
    teller.gone(101, "speech")
    teller.others(125, 14)
    teller.service(128, "speech", instance=2)
    teller.talk(130, 240, 8)
    teller.others(240, 14)


def night_and_day(teller: Teller) -> None:
    """Let three days pass: speech from eight to eight, a batch that takes the memory at night until half past seven."""
    teller.service(0, "speech")
    hour = 3600.0
    teller.others(0, 14)
    for day in range(3):
        morning = day * 24 * hour + 8 * hour
        teller.others(morning - 0.5 * hour, 14)
        teller.talk(morning, morning + 12 * hour, 900)
        teller.others(morning + 13 * hour, 22)
    teller.others(72 * hour, 22)


def thundering_herd(teller: Teller) -> None:
    """Let nobody speak for a while and memory be scarce, then forty utterances in a second; five times."""
    teller.service(0, "speech")
    teller.others(0, 14)
    for herd in range(5):
        start = 20 + herd * 60
        teller.others(start, 20.2)
        for number in range(40):
            teller.speak(start + 30 + number * 0.025)
        teller.others(start + 40, 14)
    teller.others(330, 14)


STORIES: dict[str, Callable[[Teller], None]] = {
    tell.__name__: tell
    for tell in (
        burst_of_a_language_model,
        slow_leak,
        square_wave,
        two_services,
        gpu_lost,
        driver_restart,
        night_and_day,
        thundering_herd,
    )
}


def told(name: str) -> list[Entry]:
    """Return a story's journal, in the order of time."""
    teller = Teller(seed=sum(name.encode()))
    STORIES[name](teller)
    return sorted(teller.entries, key=lambda entry: entry.unix_seconds)


def lines(entries: list[Entry]) -> Iterator[bytes]:
    """Return a journal as it stands in a file."""
    for entry in entries:
        yield line_of(entry.record, entry.unix_seconds)


def wave(
    period_seconds: float, *, low_gigabytes: float, high_gigabytes: float, seconds: float, every_seconds: float
) -> list[Entry]:
    """Return the journal of a square wave of one period, under utterances every so often (0 for none)."""
    teller = Teller(seed=7)
    teller.service(0, "speech")
    for number in range(int(seconds / period_seconds)):
        teller.others(number * period_seconds, high_gigabytes)
        teller.others((number + 0.5) * period_seconds, low_gigabytes)
    if every_seconds:
        teller.talk(1, seconds, every_seconds)
    teller.others(seconds, low_gigabytes)
    return sorted(teller.entries, key=lambda entry: entry.unix_seconds)


def two_overloaded(*, others_gigabytes: float, breath_gigabytes: float = 0.0, seconds: float = 300.0) -> list[Entry]:
    """Return the journal of two services that speak all the time beside others who leave too little, and breathe."""
    teller = Teller(seed=9)
    for name in ("first", "second"):
        teller.service(0, name)
        teller.talk(1, seconds, 6.5, name)
    for second in range(int(seconds)):
        teller.others(second, others_gigabytes + teller.random.uniform(-breath_gigabytes, breath_gigabytes))
    return sorted(teller.entries, key=lambda entry: entry.unix_seconds)


def noise(
    period_seconds: float, *, low_gigabytes: float, high_gigabytes: float, seconds: float, seed: int
) -> list[Entry]:
    """Return the journal of others who want something else every period."""
    teller = Teller(seed=seed)
    teller.service(0, "speech")
    for number in range(int(seconds / period_seconds)):
        teller.others(number * period_seconds, teller.random.uniform(low_gigabytes, high_gigabytes))
    teller.others(seconds, low_gigabytes)
    return sorted(teller.entries, key=lambda entry: entry.unix_seconds)
