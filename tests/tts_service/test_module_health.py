"""Health follows the modules."""

from tts_service.api.module_health import ModuleHealth


def test_health_is_told_once_for_each_change() -> None:
    """Red when the first module breaks, green when the last is back, silence in between."""
    broken: set[str] = set()
    told: list[bool] = []
    health = ModuleHealth(lambda: broken, told.append)
    for change in (set(), {"voice"}, {"voice", "watermark.encoder"}, {"voice"}, set(), set()):
        broken.clear()
        broken.update(change)
        health.check()

    assert [False, True] == told
