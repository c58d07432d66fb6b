"""Where every random number of a segment's speech comes from: the one seam of randomness.

Rules
* What is drawn: the choice of each speech token, the noise that the flow begins from, the phases and the noise of the
  vocoder's excitation. Nothing else in the data path is random, and nothing else draws.
* `CounterRandom` is the product's. A number depends on (seed, segment, purpose, place) and on nothing that was drawn
  before, so chunks of any size, retries and other sessions change nothing. Whole numbers are hashed, which gives the
  same bits on every device; they become floats in float64, so that devices differ at most in float32's last bit.
* `UpstreamRandom` draws from torch's generators in upstream's order, for comparisons with upstream only. There a number
  depends on all before it, so a whole utterance is drawn in order: tokens, `draw_mel`, `draw_source`.
"""

import math
from enum import IntEnum
from typing import Final, Protocol

import torch

MEL_BANDS: Final = 80

_GOLDEN: Final = 0x9E3779B97F4A7C15
_MIX_1: Final = 0xBF58476D1CE4E5B9
_MIX_2: Final = 0x94D049BB133111EB
"""SplitMix64's increment and multipliers (Steele, Lea and Flood, "Fast splittable pseudorandom number generators")."""

_WORD: Final = 0xFFFF_FFFF_FFFF_FFFF

SIGNED_MIXERS: Final = tuple(word - (1 << 64) for word in (_GOLDEN, _MIX_1, _MIX_2))
"""The same three, all of which have the sign bit, for kernels that hash int64."""
CHOICE_BITS: Final = 16
"""A step's token choice has 2**16 places, more than any vocabulary of speech tokens."""


class RandomSource(Protocol):
    """One segment's random numbers. Tensors of noise are float32, on the source's device."""

    def choose_token(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Return the token (scalar, int64, on the logits' device) drawn from these float32 logits (vocabulary,)."""
        ...

    def mel_noise(self, start_frame: int, frame_count: int) -> torch.Tensor:
        """Return standard normal noise (80, frames) from this absolute frame on; the prompt's frames end with -1."""
        ...

    def source_phases(self, harmonic_count: int) -> torch.Tensor:
        """Return the harmonics' phases (harmonics,), uniform in [-pi, pi); the fundamental's is 0."""
        ...

    def source_noise(self, start_sample: int, sample_count: int, harmonic_count: int) -> torch.Tensor:
        """Return standard normal noise (harmonics, samples) from this absolute sample on."""
        ...


class _Purpose(IntEnum):
    """What a number is for; part of its key, so that no two purposes share numbers."""

    TOKEN = 1
    MEL = 2
    PHASE = 3
    SOURCE = 4


class CounterRandom:
    """Random numbers by (seed, segment, place): any of them, in any order, as often as wanted."""

    def __init__(self, *, seed: int, segment: int, device: torch.device | str = "cpu") -> None:
        self._seed = seed
        self._segment = segment
        self._device = torch.device(device)

    @property
    def token_key(self) -> int:
        """What all choices of tokens are hashed with, as an int64."""
        return _signed(_key(self._seed, self._segment, _Purpose.TOKEN))

    @property
    def mel_key(self) -> int:
        """What the noise of the mel is hashed with, as an int64."""
        return _signed(_key(self._seed, self._segment, _Purpose.MEL))

    @property
    def source_keys(self) -> tuple[int, int]:
        """What the phases and the noise of the excitation are hashed with, as int64."""
        phases, noise = (_key(self._seed, self._segment, each) for each in (_Purpose.PHASE, _Purpose.SOURCE))
        return _signed(phases), _signed(noise)

    def choose_token(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Return the largest logit's place after each got its own Gumbel noise, which draws from their softmax."""
        places = torch.arange(logits.shape[0], device=logits.device)
        noise = _gumbel(self._hashed(_Purpose.TOKEN, places + (step << CHOICE_BITS)))
        return torch.argmax(logits + noise)

    def mel_noise(self, start_frame: int, frame_count: int) -> torch.Tensor:
        """Return standard normal noise (80, frames) by absolute frame."""
        return self._normal(_Purpose.MEL, start_frame, frame_count, MEL_BANDS)

    def source_phases(self, harmonic_count: int) -> torch.Tensor:
        """Return the harmonics' phases (harmonics,): the same in every chunk of a segment."""
        return _phases(self._hashed(_Purpose.PHASE, torch.arange(harmonic_count, device=self._device)))

    def source_noise(self, start_sample: int, sample_count: int, harmonic_count: int) -> torch.Tensor:
        """Return standard normal noise (harmonics, samples) by absolute sample."""
        return self._normal(_Purpose.SOURCE, start_sample, sample_count, harmonic_count)

    def _normal(self, purpose: _Purpose, start: int, count: int, lanes: int) -> torch.Tensor:
        """Return (lanes, count): a number's place is its position times the lanes, plus its lane."""
        positions = torch.arange(start, start + count, device=self._device)
        lane = torch.arange(lanes, device=self._device)
        return _normal(self._hashed(purpose, positions * lanes + lane[:, None]))

    def _hashed(self, purpose: _Purpose, places: torch.Tensor) -> torch.Tensor:
        """Return 64 random bits for each place, as int64."""
        return _mixed_tensor(places * _signed(_GOLDEN) + _signed(_key(self._seed, self._segment, purpose)))

    def __repr__(self) -> str:
        return f"<CounterRandom seed {self._seed}, segment {self._segment}>"


class UpstreamRandom:
    """Random numbers in the order in which upstream's `generate()` takes them from torch.

    `generator` must be on the device of the logits; None is torch's global one of each device. Upstream draws phases
    on the CPU whatever the device, so `phase_generator` is separate where `generator` is not a CPU's.
    """

    def __init__(
        self,
        generator: torch.Generator | None = None,
        *,
        phase_generator: torch.Generator | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self._generator = generator
        self._phase_generator = phase_generator or generator
        self._device = torch.device(device)
        self._mel = torch.zeros(MEL_BANDS, 0)
        self._prompt_frames = 0
        self._phases = torch.zeros(0)
        self._source = torch.zeros(0, 0)

    def choose_token(self, logits: torch.Tensor, step: int) -> torch.Tensor:
        """Return a multinomial draw from the softmax; logits that have none give any token, and no device fault."""
        del step
        weights = torch.softmax(logits, dim=-1)
        weights = torch.where(torch.isfinite(logits.max()), weights, 1.0)
        return torch.multinomial(weights, num_samples=1, generator=self._generator)[0]

    def draw_mel(self, *, prompt_frames: int, frame_count: int, meanflow: bool) -> None:
        """Draw an utterance's flow noise; with meanflow (Turbo), upstream draws the utterance's own frames first."""
        self._prompt_frames = prompt_frames
        own = self._randn(MEL_BANDS, frame_count) if meanflow else None
        self._mel = self._randn(MEL_BANDS, prompt_frames + frame_count)
        if own is not None:
            self._mel[:, prompt_frames:] = own

    def draw_source(self, *, sample_count: int, harmonic_count: int) -> None:
        """Draw an utterance's phases and noise, and the noise that upstream draws beside them and drops."""
        phases = torch.rand(harmonic_count, generator=self._phase_generator) * (2 * math.pi) - math.pi
        phases[0] = 0.0
        self._phases = phases.to(self._device)
        self._source = self._randn(harmonic_count, sample_count)
        self._randn(sample_count)

    def mel_noise(self, start_frame: int, frame_count: int) -> torch.Tensor:
        """Return what `draw_mel` drew for these frames."""
        begin = start_frame + self._prompt_frames
        assert 0 <= begin <= begin + frame_count <= self._mel.shape[1], "draw_mel drew other frames"
        return self._mel[:, begin : begin + frame_count]

    def source_phases(self, harmonic_count: int) -> torch.Tensor:
        """Return the phases that `draw_source` drew."""
        assert len(self._phases) == harmonic_count, "draw_source drew other harmonics"
        return self._phases

    def source_noise(self, start_sample: int, sample_count: int, harmonic_count: int) -> torch.Tensor:
        """Return what `draw_source` drew for these samples."""
        end = start_sample + sample_count
        assert len(self._source) == harmonic_count, "draw_source drew other harmonics"
        assert 0 <= start_sample <= end <= self._source.shape[1], "draw_source drew other samples"
        return self._source[:, start_sample:end]

    def _randn(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self._generator, device=self._device)

    def __repr__(self) -> str:
        return f"<UpstreamRandom {self._mel.shape[1]} frames, {self._source.shape[1:].numel()} samples drawn>"


def token_noise(keys: torch.Tensor, steps: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Return `CounterRandom.choose_token`'s Gumbel noise (choices, vocabulary) for many keys and steps, int64."""
    places = torch.arange(vocabulary, device=keys.device) + (steps << CHOICE_BITS)[:, None]
    return _gumbel(_mixed_tensor(places * _signed(_GOLDEN) + keys[:, None]))


def phases_of(key: torch.Tensor, harmonic_count: int) -> torch.Tensor:
    """Return the phases of `CounterRandom.source_phases` for a key (scalar, int64)."""
    places = torch.arange(harmonic_count, device=key.device)
    return _phases(_mixed_tensor(places * _signed(_GOLDEN) + key))


def source_noise_of(key: torch.Tensor, start: torch.Tensor, sample_count: int, harmonic_count: int) -> torch.Tensor:
    """Return the noise of `CounterRandom.source_noise` for a key and a first sample (scalars, int64)."""
    positions = start + torch.arange(sample_count, device=key.device)
    places = positions * harmonic_count + torch.arange(harmonic_count, device=key.device)[:, None]
    return _normal(_mixed_tensor(places * _signed(_GOLDEN) + key))


def mel_noise_of(key: torch.Tensor, frames: torch.Tensor) -> torch.Tensor:
    """Return the noise of `CounterRandom.mel_noise` (80, frames) for a key (scalar) and absolute frames, all int64."""
    places = frames * MEL_BANDS + torch.arange(MEL_BANDS, device=frames.device)[:, None]
    return _normal(_mixed_tensor(places * _signed(_GOLDEN) + key))


def _phases(words: torch.Tensor) -> torch.Tensor:
    """Return uniform phases in [-pi, pi), the first of which is 0."""
    phases = ((2 * _uniform(words) - 1) * math.pi).float()
    # Assigning a number would copy it from the host, which a CUDA graph cannot hold.
    phases[0].zero_()
    return phases


def _key(*values: int) -> int:
    """Return 64 bits that depend on every value and on their order."""
    key = 0
    for value in values:
        key = _mixed((key + value + _GOLDEN) & _WORD)
    return key


def _mixed(word: int) -> int:
    """Return SplitMix64's finaliser of a 64-bit word: every bit of the result depends on all of it."""
    word = ((word ^ (word >> 30)) * _MIX_1) & _WORD
    word = ((word ^ (word >> 27)) * _MIX_2) & _WORD
    return word ^ (word >> 31)


def _mixed_tensor(words: torch.Tensor) -> torch.Tensor:
    """Return `_mixed` of every element. int64 products wrap around as unsigned ones do; shifts bring in zeros."""
    words = (words ^ _shifted(words, 30)) * _signed(_MIX_1)
    words = (words ^ _shifted(words, 27)) * _signed(_MIX_2)
    return words ^ _shifted(words, 31)


def _shifted(words: torch.Tensor, bits: int) -> torch.Tensor:
    return (words >> bits) & (_WORD >> bits)


def _signed(word: int) -> int:
    """Return the int64 with the bits of an unsigned word."""
    word &= _WORD
    return word - (1 << 64) if word >> 63 else word


def _uniform(words: torch.Tensor) -> torch.Tensor:
    """Return a float64 in (0, 1), never either end, from the upper 52 bits of each word."""
    return (_shifted(words, 12).double() + 0.5) * 2.0**-52


def _gumbel(words: torch.Tensor) -> torch.Tensor:
    return -torch.log(-torch.log(_uniform(words))).float()


def _normal(words: torch.Tensor) -> torch.Tensor:
    """Return a standard normal float32 from each word (Box and Muller): radius by its upper half, angle by its lower.

    32 bits of radius reach 6.7 deviations, which one number in 5e10 exceeds.
    """
    radius = torch.sqrt(-2 * torch.log((_shifted(words, 32).double() + 0.5) * 2.0**-32))
    angle = (words & 0xFFFF_FFFF).double() * (2 * math.pi * 2.0**-32)
    return (radius * torch.cos(angle)).float()
