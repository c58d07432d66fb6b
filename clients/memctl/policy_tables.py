"""The policy and a change of it as tables. Pure."""

from collections.abc import Iterable, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from memctl.format import NOTHING, date_and_clock, exact_value
from memctl.settings import SETTINGS
from memctl.tables import Reader, effective_mark, plain_table
from memctl.types import DeviceMemory, Policy, PolicyInForce


def policy_table(policy: PolicyInForce, devices: Sequence[DeviceMemory], reader: Reader) -> RenderableType:
    """Return every number of the policy, the marks also in bytes on each device that is known."""
    marked = [device for device in devices if device.marks is not None]
    table = plain_table("SETTING", "VALUE", *(f"ON {device.device}" for device in marked), "MEANING")
    for setting in SETTINGS:
        value = exact_value(setting, policy.policy.values.get(setting.name))
        effective = [effective_mark(device, setting.name) for device in marked]
        table.add_row(setting.name, Text(value, style="cyan"), *effective, Text(setting.meaning, style="dim"))
    return Group(table, Text(_changed(policy, reader), style="dim"))


def change_table(before: Policy, after: Policy, asked: Iterable[str]) -> RenderableType:
    """Return the asked numbers before and after; what was so already is said to be."""
    table = plain_table("SETTING", "BEFORE", "", "AFTER", "")
    names = set(asked)
    for setting in SETTINGS:
        if setting.name not in names:
            continue
        old, new = (exact_value(setting, policy.values.get(setting.name)) for policy in (before, after))
        same = old == new
        style, remark = ("dim", "unchanged") if same else ("bold green", "")
        table.add_row(setting.name, old, "->", Text(new, style=style), Text(remark, style="dim"))
    return table


def _changed(policy: PolicyInForce, reader: Reader) -> str:
    version = f"revision {policy.policy.revision}, etag {policy.policy.etag or NOTHING}"
    if policy.update_unix_seconds is None:
        return f"{version}, never changed"
    who = f" by {policy.updated_by}" if policy.updated_by else ""
    return f"{version}, changed {date_and_clock(policy.update_unix_seconds, reader.zone)}{who}"
