"""Memory comes behind addresses, and if it cannot, nothing is left of the attempt."""

import structlog

from tts_service.residency.device_driver import DeviceDriver, DeviceDriverError

_log = structlog.get_logger(__name__)


def whole_granules(driver: DeviceDriver, byte_count: int) -> int:
    """Return a size rounded up to what can be mapped."""
    granule = driver.granularity_bytes
    return -(-byte_count // granule) * granule


def map_memory(driver: DeviceDriver, address: int, byte_count: int) -> None:
    """Put new memory behind reserved addresses, by one mapping; what is in it is undefined.

    Raises DeviceMemoryError or DeviceDriverError, and then nothing is there. Who may call, and when: see
    `AddressRange`.
    """
    handle = driver.create(byte_count)
    mapped = False
    try:
        driver.map(address, byte_count, handle)
        mapped = True
        driver.set_access(address, byte_count)
        # From here on the mapping alone keeps the memory, so that taking it away is one call.
        driver.release(handle)
    except DeviceDriverError:
        _undo(driver, address, byte_count, handle, mapped=mapped)
        raise


def _undo(driver: DeviceDriver, address: int, byte_count: int, handle: int, *, mapped: bool) -> None:
    """Take back what was done before a failure; each step is made even if the other fails."""
    try:
        if mapped:
            driver.unmap(address, byte_count)
    except DeviceDriverError:
        _log.exception("device_memory_left_mapped", bytes=byte_count)
    try:
        driver.release(handle)
    except DeviceDriverError:
        _log.exception("device_memory_left_unreleased", bytes=byte_count)
