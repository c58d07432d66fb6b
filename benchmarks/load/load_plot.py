"""A run over time, as a picture: first audio, sessions, and what went wrong."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt


def draw(timeline: list[dict[str, Any]], path: Path) -> None:
    """Draw the slices of a run, one above the other on one time axis."""
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(10, 6), sharex=True, layout="constrained")
    heard = [each for each in timeline if each["first_audio_p50_ms"] is not None]
    at = [each["at_seconds"] for each in heard]
    upper.plot(at, [each["first_audio_p50_ms"] for each in heard], ".-", label="median", color="tab:blue")
    upper.plot(at, [each["first_audio_max_ms"] for each in heard], ".", label="longest", color="tab:orange")
    upper.set(ylabel="first audio, ms")
    seconds = [each["at_seconds"] for each in timeline]
    lower.step(seconds, [each["open"] for each in timeline], where="post", label="sessions", color="tab:green")
    for kind, color in (("underruns", "tab:red"), ("rejects", "tab:purple")):
        if any(each[kind] for each in timeline):
            lower.step(seconds, [each[kind] for each in timeline], where="post", label=kind, color=color)
    lower.set(ylabel="count", xlabel="seconds")
    for axes in (upper, lower):
        axes.grid(alpha=0.3)
        axes.set_ylim(bottom=0)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper right")
    figure.savefig(path, dpi=110)
    plt.close(figure)
