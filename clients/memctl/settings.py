"""The numbers of the policy, as one table: what each is called, what kind of value it takes, and what it does.

A number that the wire gains is one more line here; parsing, tables, JSON, help and the field mask follow from it.
"""

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a value of a setting looks like."""

    MARK = "bytes or percent"
    DURATION = "duration"
    RATE = "bytes a second"
    SIZE = "bytes"
    PERCENT = "percent of the time"
    SWITCH = "true or false"


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One number of the policy; `name` is its field on the wire."""

    name: str
    kind: Kind
    meaning: str

    @property
    def key(self) -> str:
        """Its name in JSON, with the unit last."""
        return f"{self.name}_seconds" if self.kind is Kind.DURATION else self.name


SETTINGS: tuple[Setting, ...] = (
    Setting(name="critical", kind=Kind.MARK, meaning="free memory below which modules leave at once"),
    Setting(name="low", kind=Kind.MARK, meaning="free memory below which modules leave after the grace"),
    Setting(name="high", kind=Kind.MARK, meaning="free memory to reach by giving back"),
    Setting(name="grace", kind=Kind.DURATION, meaning="how long memory must be low"),
    Setting(name="cool_down", kind=Kind.DURATION, meaning="rest after an action"),
    Setting(name="minimum_residence", kind=Kind.DURATION, meaning="a module that came home stays so long"),
    Setting(name="minimum_absence", kind=Kind.DURATION, meaning="a module that left stays away so long"),
    Setting(name="minimum_period", kind=Kind.DURATION, meaning="shortest time between samples"),
    Setting(name="maximum_period", kind=Kind.DURATION, meaning="longest time between samples"),
    Setting(name="worst_fill_bytes_per_second", kind=Kind.RATE, meaning="how fast memory may fill"),
    Setting(name="valid_for", kind=Kind.DURATION, meaning="time to live of a directive"),
    Setting(name="renewal", kind=Kind.DURATION, meaning="time between renewals"),
    Setting(name="background_restore", kind=Kind.SWITCH, meaning="bring modules back when there is room"),
    Setting(name="foresight", kind=Kind.SWITCH, meaning="bring modules back ahead of their time of day"),
    Setting(name="expected_again", kind=Kind.DURATION, meaning="a module used so lately is expected to be used again"),
    Setting(name="foresight_lead", kind=Kind.DURATION, meaning="how long ahead of its time of day a module may come"),
    Setting(name="trim_cache", kind=Kind.SWITCH, meaning="ask for unused caches before modules leave"),
    Setting(name="trim_minimum_bytes", kind=Kind.SIZE, meaning="a cache below this size is not asked for"),
    Setting(name="relieve_host", kind=Kind.SWITCH, meaning="on a GPU's machine, let masters leave host memory too"),
    Setting(name="host_low", kind=Kind.MARK, meaning="free host memory below which masters go to disk"),
    Setting(name="host_high", kind=Kind.MARK, meaning="free host memory from which on they come back"),
    Setting(name="host_some_percent", kind=Kind.PERCENT, meaning="stalls of some tasks that count as pressure"),
    Setting(name="host_full_percent", kind=Kind.PERCENT, meaning="stalls of all tasks that count as pressure"),
    Setting(name="dry_run", kind=Kind.SWITCH, meaning="decide and write the journal, but move nothing"),
)

BY_NAME: dict[str, Setting] = {setting.name: setting for setting in SETTINGS}
BY_KEY: dict[str, Setting] = {setting.key: setting for setting in SETTINGS}
