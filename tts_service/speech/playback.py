"""How far the listener has heard: the clock that pacing follows. Pure; the caller says what time it is.

Playback is modelled as a player that starts with the first audio, runs at real time, and stops when it runs dry.
A report from the client replaces the model. When the last report is older than `REPORT_FRESH_SECONDS`, the player
is taken to have gone on with the clock since that report: a client that pauses repeats its report. A player whose last
report was beyond the one before plays: it runs dry when what was sent since is over, which no report tells in time.
"""

from dataclasses import dataclass, replace

REPORT_FRESH_SECONDS = 2.0
ROUNDING_SECONDS = 1e-9
"""Far below a sample's length; absorbs rounding in sums of seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaybackClock:
    """Seconds of a session's audio, over all its utterances.

    Invariant: 0 <= played_seconds <= sent_seconds.
    """

    sent_seconds: float = 0.0
    played_seconds: float = 0.0
    as_of: float = 0.0
    """When played_seconds was true."""
    reported_at: float | None = None
    reported_seconds: float = 0.0
    """The last report. It alone bounds the next one: what the model made of the time since is no report."""
    dry_since: float | None = None
    """When the player ran out of audio; None while it has some, or has not begun."""
    plays: bool = False
    """Whether the last report was beyond the one before."""
    still_since: float | None = None
    """Since when reports have told of the same position, with audio left to play; None while it moves."""


def advanced(clock: PlaybackClock, now: float) -> PlaybackClock:
    """Return the clock as it stands now."""
    if now <= clock.as_of:
        return clock
    if clock.reported_at is not None and now - clock.reported_at <= REPORT_FRESH_SECONDS:
        dry_at = clock.as_of + ahead_seconds(clock)
        is_dry = clock.plays and clock.dry_since is None and now >= dry_at
        return replace(clock, dry_since=dry_at) if is_dry else clock
    played = clock.played_seconds + (now - clock.as_of)
    if played < clock.sent_seconds:
        return _stood_at(clock, clock.sent_seconds, played, now, clock.dry_since)
    dry_since = clock.dry_since
    if dry_since is None and clock.sent_seconds > 0.0:
        dry_since = clock.as_of + (clock.sent_seconds - clock.played_seconds)
    return _stood_at(clock, clock.sent_seconds, clock.sent_seconds, now, dry_since)


def _stood_at(
    clock: PlaybackClock, sent_seconds: float, played_seconds: float, as_of: float, dry_since: float | None
) -> PlaybackClock:
    """Return the clock with another position. Every chunk asks for it some times; `replace` takes twice as long."""
    return PlaybackClock(
        sent_seconds=sent_seconds,
        played_seconds=played_seconds,
        as_of=as_of,
        reported_at=clock.reported_at,
        reported_seconds=clock.reported_seconds,
        dry_since=dry_since,
        plays=clock.plays,
        still_since=clock.still_since,
    )


def sent(clock: PlaybackClock, seconds: float, now: float) -> PlaybackClock:
    """Return the clock after so much more audio has left."""
    clock = advanced(clock, now)
    played_seconds, as_of = clock.played_seconds, clock.as_of
    if clock.dry_since is not None and now > as_of:
        # It has waited until now, and begins again with this.
        played_seconds, as_of = clock.sent_seconds, now
    return _stood_at(clock, clock.sent_seconds + seconds, played_seconds, as_of, None)


def reported(clock: PlaybackClock, played_seconds: float, now: float) -> PlaybackClock:
    """Return the clock after the client's word; a report that goes back or beyond what was sent is bounded."""
    played = min(max(played_seconds, clock.reported_seconds), clock.sent_seconds)
    dry_since = (clock.dry_since or now) if played >= clock.sent_seconds > 0.0 else None
    stands = clock.reported_at is not None and played <= clock.reported_seconds and played < clock.sent_seconds
    return replace(
        clock,
        played_seconds=played,
        as_of=now,
        reported_at=now,
        reported_seconds=played,
        dry_since=dry_since,
        plays=played > clock.reported_seconds,
        still_since=(clock.still_since or clock.reported_at) if stands else None,
    )


def skipped(clock: PlaybackClock, to_seconds: float, now: float) -> PlaybackClock:
    """Return the clock after the client dropped what it had not played before this position."""
    clock = advanced(clock, now)
    played = min(max(clock.played_seconds, to_seconds), clock.sent_seconds)
    return replace(
        clock, played_seconds=played, as_of=now, reported_at=None, dry_since=None, plays=False, still_since=None
    )


def discarded(clock: PlaybackClock, now: float) -> PlaybackClock:
    """Return the clock after the client dropped all audio that it had not played."""
    clock = advanced(clock, now)
    return replace(
        clock,
        sent_seconds=clock.played_seconds,
        as_of=now,
        reported_at=None,
        dry_since=None,
        plays=False,
        still_since=None,
    )


def still_seconds(clock: PlaybackClock, now: float) -> float:
    """Return for how long the listener has stood still by its own word, 0 once that is old."""
    told = clock.reported_at is not None and now - clock.reported_at <= REPORT_FRESH_SECONDS
    return max(0.0, now - clock.still_since) if told and clock.still_since is not None else 0.0


def ahead_seconds(clock: PlaybackClock) -> float:
    """Return how much audio has left but is not played."""
    return clock.sent_seconds - clock.played_seconds


def room_at(clock: PlaybackClock, *, ahead_limit_seconds: float, next_seconds: float, now: float) -> float:
    """Return when the next piece may leave: now, or the time at which playback will have made room."""
    clock = advanced(clock, now)
    excess = ahead_seconds(clock) + next_seconds - ahead_limit_seconds
    if excess <= ROUNDING_SECONDS:
        return now
    if clock.reported_at is None:
        return now + excess
    stale_at = clock.reported_at + REPORT_FRESH_SECONDS
    return max(stale_at, clock.as_of + excess) if now <= stale_at else now + excess
