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


def test_health_asks_to_be_looked_at_only_when_it_differs() -> None:
    """Moves are many, and nobody is woken for them."""
    broken: set[str] = set()
    health = ModuleHealth(lambda: broken, lambda _: None)
    differs = [health.differs()]
    broken.add("voice")
    differs.append(health.differs())
    health.check()
    differs.append(health.differs())
    broken.clear()
    differs.append(health.differs())

    assert [False, True, False, True] == differs


def test_health_that_changes_while_it_is_told_is_told_again() -> None:
    """Whoever changed it saw what had been told before, and asked nobody to look."""
    broken = {"voice"}
    told: list[bool] = []

    def tell(serving: bool) -> None:  # noqa: FBT001  # A callback's only argument.
        told.append(serving)
        broken.clear()

    ModuleHealth(lambda: broken, tell).check()

    assert [False, True] == told
