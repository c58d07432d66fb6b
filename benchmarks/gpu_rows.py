"""The rows of `benchmarks.gpu`: what each says, where it comes from, and what it is to reach."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

PLACES: Final = ((1_000.0, 0), (10.0, 1), (0.001, 3))
"""From which value on how many decimals are what the eye can compare; less is written with an exponent."""

Found = Mapping[str, Any]
"""What the parts found, by the part's name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One figure with its bound: `most`, or `least` where more is better.

    `peer` is upstream's, `plain` that of the service with everything off; None if there is none.
    """

    value: float
    unit: str
    peer: float | None = None
    plain: float | None = None
    spread: str = ""
    most: float | None = None
    least: float | None = None

    @property
    def most_counts(self) -> bool:
        """Whether less is better."""
        return self.most is not None

    @property
    def is_met(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.most if self.most is not None else self.least is not None and self.value >= self.least

    def shown(self, value: float) -> str:
        """Return a value of this row as people read it."""
        places = 0 if value == int(value) else next((n for least, n in PLACES if abs(value) >= least), None)
        number = f"{value:.1e}" if places is None else f"{value:,.{places}f}"
        return f"{number} {self.unit}".rstrip()

    def fields(self) -> dict[str, Any]:
        """Return what is kept of it."""
        bound: dict[str, float | None] = {"most": self.most} if self.most is not None else {"least": self.least}
        return {
            "value": self.value,
            "unit": self.unit,
            "peer": self.peer,
            "plain": self.plain,
            "spread": self.spread,
            **bound,
        }


def rows_of(found: Found) -> dict[str, Row]:
    """Return the rows that these parts make; a row whose part is not there is left out."""
    rows: dict[str, Row] = {}
    for name, (make, parts) in _ROWS.items():
        if all(_is_there(found, part) for part in parts):
            rows[name] = make(found)
    return rows


def _is_there(found: Found, path: str) -> bool:
    """Tell whether a part, or PART/FIGURE of it, was found."""
    part, _, figure = path.partition("/")
    return part in found and (not figure or figure in found[part])


def _evict(found: Found) -> Row:
    row, moves = found["moves"]["rows"]["evict_ms_per_gib"], found["moves"]["rows"]["evict_p99_to_p50"]
    spread = f"p99/p50 {moves['value']:.2f}, reach 2"
    return Row(value=row["value"], unit="ms/GiB", peer=row["peer"], spread=spread, most=1.5)


def _restore(found: Found) -> Row:
    row, moves = found["moves"]["rows"]["restore_fraction_of_copy"], found["moves"]["moves"][-1]
    spread = f"{moves['mib']} MiB p50 {moves['restore']['p50']:.1f}, p99 {moves['restore']['p99']:.1f} ms"
    return Row(value=row["value"], unit="of pinned copy", peer=row["peer"], spread=spread, least=0.85)


def _step(found: Found) -> Row:
    own = found["t3"]["rows"]["english 1 pairs own: step at 300"]["value"]
    return Row(value=own, unit="ms", peer=_of(found, "upstream_english", "t3_step_ms"), most=1.3)


def _first_audio(model: str, most: float) -> Callable[[Found], Row]:
    def made(found: Found) -> Row:
        peer = _of(found, f"upstream_{model}", "first_audio_ms")
        plain = _of(found, "plain", "first_audio") if model == "english" else None
        return _times(found[model]["first_audio"], peer=peer, plain=plain and plain["p50_ms"], most=most)

    return made


def _real_time_factor(model: str, most: float) -> Callable[[Found], Row]:
    def made(found: Found) -> Row:
        peer = _of(found, f"upstream_{model}", "real_time_factor")
        plain = _of(found, "plain", "real_time_factor") if model == "english" else None
        spread = f"{found[model]['speech_seconds']:.1f} s of speech"
        return Row(value=found[model]["real_time_factor"], unit="", peer=peer, plain=plain, spread=spread, most=most)

    return made


def _wake(found: Found) -> Row:
    return _times(found["english"]["wake"], peer=_of(found, "upstream_english", "wake_ms"), most=150)


def _moves_ratio(found: Found) -> Row:
    chunks = found["english"]["chunks"]
    noise, count = chunks["noise_p99_ratio"], chunks["gaps"]["moving"]["count"]
    spread = f"{count} chunks, halves without moves differ by {noise:.2f}"
    return Row(value=chunks["moves_p99_ratio"], unit="", spread=spread, most=max(1.05, noise))


def _offload_ratio(found: Found) -> Row:
    chunks = found["english"]["chunks"]
    spread = f"{chunks['offload_turns']} turns, {chunks['gaps']['away']['count']} chunks each"
    return Row(value=chunks["offload_ratio"], unit="", spread=spread, most=1.01)


def _speaking(found: Found) -> Row:
    peer, plain = _of(found, "upstream_english", "speaking"), _of(found, "plain", "device_mib")
    return Row(
        value=found["english"]["device_mib"]["speaking"],
        unit="MiB",
        peer=peer and peer.get("device"),
        plain=plain and plain["speaking"],
        most=2_200,
    )


def _idle(found: Found) -> Row:
    moves = _of(found, "upstream_english", "moves")
    peer = moves[-1]["idle"].get("device") if moves else None
    return Row(value=found["english"]["device_mib"]["idle"], unit="MiB", peer=peer, most=600)


def _cycles(found: Found) -> Row:
    cycles = found["captured"]["cycles"]
    spread = f"{cycles['cycles']:,} cycles in {cycles['utterances']} utterances, {cycles['samples']:,} samples"
    return Row(value=cycles["changed"], unit="changed", spread=spread, most=0)


def _captured_error(found: Found) -> Row:
    fp32 = found["captured"]["fp32"]
    spread = f"{fp32['tokens_same']} of {fp32['tokens_compared']} tokens the same"
    return Row(value=max(fp32["mel"], fp32["waveform"]), unit="of peak", spread=spread, most=1e-3)


def _low_memory(found: Found) -> Row:
    low, usual = found["low_memory"], found["english"]
    factor, first = low["real_time_factor"], low["first_audio"]["p50_ms"]
    spread = (
        f"first audio {first:,.0f} ms, peak {low['device_mib']['speaking']:,.0f} MiB, real-time factor {factor:.3f}"
    )
    return Row(value=float(low["speech_sha256"] != usual["speech_sha256"]), unit="changed", spread=spread, most=0)


def _ready(found: Found) -> Row:
    start, plain = found["english"]["start"], _of(found, "plain", "start")
    share = start["VmHWM"] / start["weights_mib"]
    spread = f"host peak {start['VmHWM']:,.0f} MiB, {share:.2f} of the weights"
    if (their_peak := _of(found, "upstream_english", "host_peak_mib")) is not None:
        spread += f", upstream's {their_peak:,.0f}"
    return Row(
        value=start["ready_seconds"],
        unit="s",
        peer=_of(found, "upstream_english", "ready_seconds"),
        plain=plain and plain["ready_seconds"],
        spread=spread,
        most=20,
    )


def _times(figures: Mapping[str, Any], *, peer: float | None, most: float, plain: float | None = None) -> Row:
    spread = f"p95 {figures['p95_ms']:.0f}, max {figures['max_ms']:.0f} of {figures['count']}"
    return Row(value=figures["p50_ms"], unit="ms", peer=peer, plain=plain, spread=spread, most=most)


def _of(found: Found, part: str, name: str) -> Any:
    return found[part].get(name) if part in found else None


_ROWS: Final[dict[str, tuple[Callable[[Found], Row], tuple[str, ...]]]] = {
    "evict_ms_per_gib": (_evict, ("moves",)),
    "restore_fraction_of_copy": (_restore, ("moves",)),
    "moves_chunk_p99_ratio": (_moves_ratio, ("english",)),
    "t3_step_ms": (_step, ("t3",)),
    "first_audio_ms_english": (_first_audio("english", 80), ("english",)),
    "first_audio_ms_turbo": (_first_audio("turbo", 45), ("turbo",)),
    "rtf_english": (_real_time_factor("english", 0.06), ("english",)),
    "rtf_turbo": (_real_time_factor("turbo", 0.03), ("turbo",)),
    "wake_first_audio_ms": (_wake, ("english",)),
    "device_mb_speaking": (_speaking, ("english/device_mib",)),
    "device_mb_idle": (_idle, ("english/device_mib",)),
    "offload_chunk_ratio": (_offload_ratio, ("english",)),
    "ready_seconds": (_ready, ("english",)),
    "cycles_changed": (_cycles, ("captured",)),
    "captured_error": (_captured_error, ("captured",)),
    "low_memory_changed": (_low_memory, ("low_memory/device_mib", "english")),
}
