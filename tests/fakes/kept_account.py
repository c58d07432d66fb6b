"""Books of a scratch space without a manager."""


class KeptAccount:
    """Holds up to `limit_bytes`, None for no bound."""

    def __init__(self) -> None:
        self.limit_bytes: int | None = None
        self.booked_bytes = 0
        self.kept = 0

    def __repr__(self) -> str:
        return f"<KeptAccount {self.booked_bytes} of {self.limit_bytes} bytes | kept {self.kept} times>"

    def grow(self, byte_count: int) -> bool:
        """Book bytes that fit."""
        fits = self.limit_bytes is None or self.booked_bytes + byte_count <= self.limit_bytes
        self.booked_bytes += byte_count * fits
        return fits

    def note(self, byte_count: int) -> None:
        """Book a change."""
        self.booked_bytes += byte_count
        assert self.booked_bytes >= 0

    def keep(self, count: int) -> None:
        """Count who keeps it."""
        self.kept += count
        assert self.kept >= 0
