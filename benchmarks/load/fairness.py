"""Whether sessions are served alike: Jain's index, 1 if all get the same, 1/n if one of n gets everything. Pure.

R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination, 1984: (sum x)^2 / (n sum x^2).
"""

from benchmarks.load.heard import Heard


class Shares:
    """What each session got, as the three sums that the index needs."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = 0.0
        self._squares = 0.0

    def __repr__(self) -> str:
        return f"<Shares of {self.count} | {self.index:.3f}>"

    @property
    def index(self) -> float:
        """The index; 1 where there is nobody, or nobody got anything."""
        return self._sum**2 / (self.count * self._squares) if self._squares > 0.0 else 1.0

    def add(self, share: float) -> None:
        """Count a session. Shares are not negative."""
        assert share >= 0.0
        self.count += 1
        self._sum += share
        self._squares += share * share


class SessionShare:
    """What one session got: audio played for each second from text to the end of playback, and its mean first audio."""

    def __init__(self) -> None:
        self._audio_seconds = 0.0
        self._wanted_seconds = 0.0
        self._first_audio_seconds = 0.0
        self._first_audios = 0

    def __repr__(self) -> str:
        return f"<SessionShare {self._audio_seconds:.1f} s in {self._wanted_seconds:.1f} s>"

    def add(self, heard: Heard) -> None:
        """Count an utterance; one that never became audio says nothing."""
        first_audio_seconds, needed_at = heard.first_audio_seconds, heard.text.first_segment_at
        if first_audio_seconds is None or needed_at is None:
            return
        self._audio_seconds += heard.samples / heard.rate_hertz
        self._wanted_seconds += max(heard.player.ends_at - needed_at, 1e-3)
        self._first_audio_seconds += first_audio_seconds
        self._first_audios += 1

    def tell(self, rates: Shares, first_audios: Shares) -> None:
        """Count the session, if it got anything."""
        if self._first_audios:
            rates.add(self._audio_seconds / self._wanted_seconds)
            first_audios.add(self._first_audio_seconds / self._first_audios)
