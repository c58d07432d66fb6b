"""Tells a story to a World in words, and hears what it says: the commands of the scenario files.

A file is blocks of commands, `----`, and what is expected, ended by an empty line. Lines that begin with # are for the
reader. Rewriting replaces what is expected by what was said; review the difference before it is kept.
"""

import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from memory_daemon.kept_policy import Change
from memory_daemon.marks import HOST_POLICY, Policy, parse_mark
from memory_daemon.types import (
    HOST,
    Device,
    DeviceId,
    ModuleName,
    ModuleStatus,
    Override,
    OverrideKind,
    ServiceName,
    Tier,
)
from memory_daemon.usage import HostReading
from tests.fakes.daemon_world import World, WorldMemory, WorldService

SEPARATOR = "----"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """Commands, and what the world is expected to say."""

    commands: tuple[str, ...]
    expected: tuple[str, ...]


def parse(text: str) -> list[Block]:
    """Return the blocks of a scenario file."""
    blocks = []
    for part in text.strip("\n").split("\n\n"):
        head, found, tail = part.partition(f"\n{SEPARATOR}")
        assert found, f"a block without {SEPARATOR}: {part!r}"
        blocks.append(Block(commands=tuple(head.splitlines()), expected=tuple(tail.strip("\n").splitlines())))
    return blocks


def written(blocks: list[Block]) -> str:
    """Return the text of a scenario file."""
    return "\n\n".join("\n".join((*block.commands, SEPARATOR, *block.expected)) for block in blocks) + "\n"


class Story:
    """One world, told by commands."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._world: World | None = None
        self._policy = HOST_POLICY
        self._commands: dict[str, Callable[..., None]] = {
            "policy": self._set_policy,
            "device": self._device,
            "service": self._service,
            "others": self._others,
            "use": self._use,
            "claim": self._claim,
            "run": self._run,
            "square": self._square,
            "override": self._override,
            "clear": self._clear,
            "memory": self._memory,
            "refuse": self._refuse,
            "stop": self._stop,
            "restart": self._restart,
            "free": self._free,
            "keep": self._keep,
            "host": self._host,
        }

    def tell(self, block: Block) -> tuple[str, ...]:
        """Do the commands of a block and return what the world said."""
        before = 0 if self._world is None else len(self._world.log)
        for line in block.commands:
            if not line.startswith("#"):
                name, *words = shlex.split(line)
                plain = [word for word in words if "=" not in word]
                self._commands[name](*plain, **dict(word.split("=", 1) for word in words if "=" in word))
        said = () if self._world is None else tuple(self._world.log[before:])
        return said or ("ok",)

    @property
    def world(self) -> World:
        """The world, once there is a device."""
        assert self._world is not None, "the first command is `device`"
        return self._world

    def _set_policy(self, **numbers: str) -> None:
        """`policy low=2GB grace=1`: change numbers, before or while it runs."""
        if self._world is None:
            self._policy = _changed(self._policy, numbers)
        else:
            self.world.policies.update(Change(apply=lambda policy: _changed(policy, numbers)), ())

    def _device(self, name: str, *, total: str, others: str) -> None:
        memory = WorldMemory(device=DeviceId(name), total_bytes=_bytes(total), used_bytes=_bytes(others))
        self._world = World(self._folder, self._policy, memory)

    def _service(self, name: str, **modules: str) -> None:
        """`service speech t3=2GB tokenizer=500MB`: modules at home, never used."""
        device = self.world.memory.device
        tier = Tier.HOST if device == HOST else Tier.DEVICE
        statuses = {
            ModuleName(module): ModuleStatus(
                module=ModuleName(module), home=tier, tier=tier, home_bytes=_bytes(size), rest=tier
            )
            for module, size in modules.items()
        }
        self.world.add(WorldService(name=ServiceName(name), device=Device(device=device, tier=tier), modules=statuses))

    def _others(self, used: str) -> None:
        """`others 5GB`: what processes that nobody governs use from now on."""
        self.world.memory.used_bytes = _bytes(used)

    def _use(self, service: str, module: str, times: str = "1") -> None:
        self.world.use(self._found(service), ModuleName(module), int(times))

    def _claim(self, service: str, module: str, claims: str = "1", leases: str = "0") -> None:
        self.world.claim(self._found(service), ModuleName(module), claims=int(claims), leases=int(leases))

    def _run(self, seconds: str) -> None:
        self.world.run(float(seconds))

    def _square(self, low: str, high: str, period: str, times: str) -> None:
        """`square 1GB 5GB 2 10`: others use less and more in turn, each for half a period."""
        for _ in range(int(times)):
            for used in (high, low):
                self._others(used)
                self._run(str(float(period) / 2))

    def _override(self, kind: str, service: str, module: str, *, ttl: str = "") -> None:
        ends = self.world.unix_clock() + float(ttl) if ttl else None
        self.world.overrides.set(
            Override(
                service=ServiceName(service),
                module=ModuleName(module),
                kind=OverrideKind(kind),
                expire_unix_seconds=ends,
                set_by="operator",
            )
        )

    def _clear(self, service: str, module: str) -> None:
        self.world.overrides.clear(ServiceName(service), ModuleName(module))

    def _memory(self, state: str, reason: str = "") -> None:
        """`memory fails "a reason"`, `memory lost "a reason"`, `memory reads`."""
        self.world.memory.failure = "" if state == "reads" else reason
        self.world.memory.lost = state == "lost"

    def _refuse(self, service: str, answer: str) -> None:
        self._found(service).refuses = answer == "on"

    def _stop(self, service: str) -> None:
        self._found(service).up = False

    def _restart(self, service: str) -> None:
        self.world.restart(self._found(service))

    def _keep(self, service: str, kept: str, *, stuck: str = "0") -> None:
        """`keep speech 1GB stuck=200MB`: its allocator keeps so much unused, of which some cannot be given back."""
        world = self._found(service)
        world.kept_bytes, world.stuck_bytes = _bytes(kept), _bytes(stuck)

    def _host(self, free: str, *, some: str = "0", full: str = "0") -> None:
        """`host 20GB some=30`: 64 GB of host memory are beside the device, so much is free and waited for so long."""
        self.world.host = HostReading(
            unix_seconds=self.world.unix_clock(),
            total_bytes=64_000_000_000,
            free_bytes=_bytes(free),
            some_percent=float(some),
            full_percent=float(full),
        )

    def _free(self) -> None:
        """Say how much is free."""
        self.world.log.append(f"{self.world.free_bytes / 1e9:.1f} GB free")

    def _found(self, service: str) -> WorldService:
        return self.world.found[ServiceName(service)]


def _bytes(text: str) -> int:
    return parse_mark(text).at(0)


def _changed(policy: Policy, numbers: dict[str, str]) -> Policy:
    for name, text in numbers.items():
        if name in {"critical", "low", "high", "host_low", "host_high"}:
            policy = replace(policy, **{name: parse_mark(text)})
        elif name in {"dry_run", "background_restore", "trim_cache", "relieve_host"}:
            policy = replace(policy, **{name: text == "on"})
        else:
            policy = replace(policy, **{f"{name}_seconds": float(text)})
    return policy
