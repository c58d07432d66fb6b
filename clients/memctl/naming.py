"""Names that an operator typed, held against those that there are. Pure."""

from memctl.parse import nearest
from memctl.types import Status


def way_out(status: Status, service: str, module: str) -> str:
    """Return what to do about a name that the daemon does not know; its own words already list those it does."""
    services = [one.service for one in status.services]
    if service not in services:
        return nearest(service, services) or "`memctl services` lists them."
    return nearest(module, modules_of(status, service)) or "`memctl top` lists them."


def modules_of(status: Status, service: str) -> list[str]:
    """Return the modules that a service last reported; none where it is not known."""
    reports = [one.report for one in status.services if one.service == service and one.report is not None]
    return [module.module for report in reports for module in report.modules]


def is_stranger(status: Status, module: str, service: str = "") -> bool:
    """Tell whether a module is surely none: services that have reported have no such one, and no override names it."""
    names = [one.service for one in status.services if service in {"", one.service}]
    known = [module_name for name in names for module_name in modules_of(status, name)]
    overridden = [one.module for one in status.overrides if service in {"", one.service}]
    return bool(known) and module not in known and module not in overridden
