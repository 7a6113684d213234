"""A synthesised voice: states to a waveform by source and filter, and its log-mel spectrogram.

Formant synthesis in the manner of Klatt 1980 (doi:10.1121/1.383940), much reduced: a train of
pulses at the speaker's pitch and white noise, each through the resonances of the state, frame by
frame (overlap-add). Stops and nasals are voiced or noisy by their group; what the place of an
onset does to the second formant is faint. Pitch and the length of the vocal tract are the
speaker's, one for each utterance.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mmbench import rng
from mmbench.data import _sound
from mmbench.data._sound import MelParams
from mmbench.data.interactions.noise import normals
from mmbench.data.speech.features import ONSET, deviation
from mmbench.data.speech.lexicon import PLACES, WORDS
from mmbench.data.speech.timing import FRAMES, MILLISECONDS, SILENT, STATE_COUNT, STATES

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MEL = MelParams()
#: Samples of a frame.
SAMPLES = MEL.rate * MILLISECONDS // 1000
_HOP = round(MEL.rate * MEL.hop_ms / 1000)
#: Steps of the spectrogram within a frame.
STEPS = SAMPLES // _HOP
#: Channels, steps and bands of the longest utterance.
SHAPE = (1, STEPS * FRAMES - 2, MEL.bands)
#: The pitch in Hz lies between these.
PITCH = (90.0, 180.0)
#: Formants are those of the lexicon, times 1 less or more this.
TRACT = 0.06
#: Loudness of all, speech and noise: its root mean square.
LOUDNESS = 0.1

# Group -> how loud pulses and noise are, and the formants (Hz, bandwidth, gain) of its onsets.
_ONSETS = (
    (1.0, 0.05, ((250, 90, 1.0), (700, 150, 0.25))),
    (0.0, 1.0, ((1200, 900, 0.7), (2600, 900, 0.5))),
    (1.0, 0.02, ((280, 110, 0.8), (1050, 180, 0.35), (2300, 250, 0.2))),
    (0.0, 1.0, ((3100, 700, 1.0), (3700, 500, 0.6))),
)
# What a place adds to an onset: one more resonance, and how faint it is.
_PLACE_HZ, _PLACE_WIDTH, _PLACE_GAIN = (1450.0, 1900.0, 2350.0), 160.0, 0.22
#: Hz between two points at which gains are known.
_APART = 25.0
_RIMES = (
    (1.0, 0.03, ((750, 110, 1.0), (1250, 130, 0.7), (2500, 200, 0.3))),
    (0.8, 0.05, ((560, 110, 1.0), (950, 130, 0.5), (2400, 220, 0.2))),
)


@cache
def _spectra() -> tuple[Floats, Floats]:
    """Return of each state the gain of pulses and of noise, [49, G] each, at every `_APART` Hz."""
    hertz = np.arange(0.0, MEL.rate / 2 * 1.2, _APART)
    pulses, noise = np.zeros((STATE_COUNT, len(hertz))), np.zeros((STATE_COUNT, len(hertz)))
    for word in range(len(WORDS)):
        group, place = divmod(word, PLACES)
        for state in range(STATES):
            voiced, noisy, formants = _ONSETS[group] if state < ONSET else _RIMES[state - ONSET]
            peaks = [*formants]
            if state < ONSET:
                peaks.append((_PLACE_HZ[place], _PLACE_WIDTH, _PLACE_GAIN))
            curve = sum(
                gain / np.sqrt(1.0 + ((hertz - middle) / (width / 2)) ** 2)
                for middle, width, gain in peaks
            )
            row = 1 + STATES * word + state
            pulses[row], noise[row] = voiced * curve, noisy * curve
    # One onset is as loud as another, and as a rime: pulses of unit power per sample, as noise.
    loud = np.sqrt((pulses**2 + noise**2).mean(axis=1))
    loud[SILENT] = 1.0
    return pulses / loud[:, None], noise / loud[:, None]


def wave(seed: int, *names: object, states: Ints, snr_db: float) -> Floats:
    """Return the waveform of an utterance, noise included, [T * 320] float64.

    Args:
        seed: The data seed.
        names: The stream of speaker and noise.
        states: [T] the state of each frame.
        snr_db: Ratio of the mean power of the frames that are not at rest to the noise's.
    """
    # Half a frame before and behind, so that every sample lies in two windows.
    length = (len(states) + 1) * SAMPLES
    speaker = rng.uniform(seed, *names, "speaker", count=3)
    pitch = PITCH[0] + (PITCH[1] - PITCH[0]) * float(speaker[0])
    turns = pitch / MEL.rate * np.arange(length) + speaker[2]
    pulses = (np.diff(np.floor(turns), prepend=0.0) > 0) * (MEL.rate / pitch) ** 0.5
    drawn = normals(seed, *names, "noise", shape=(2 * length,))
    # A longer vocal tract has lower formants.
    bins = np.arange(SAMPLES + 1) * MEL.rate / (2 * SAMPLES)
    stretch = 1.0 + TRACT * (2.0 * float(speaker[1]) - 1.0)
    total: NDArray[np.complex128] = np.zeros((len(states), SAMPLES + 1), dtype=np.complex128)
    for signal, gains in zip((pulses, drawn[:length]), _spectra(), strict=True):
        cut = np.lib.stride_tricks.sliding_window_view(signal, 2 * SAMPLES)[::SAMPLES]
        shape = _stretched(gains, bins / stretch)[states]
        total += np.fft.rfft(cut * _window(), axis=1) * shape  # [T, 321]
    pieces = np.fft.irfft(total, n=2 * SAMPLES, axis=1) * _window()  # [T, 640]
    voice = np.zeros(length)
    voice[:-SAMPLES] += pieces[:, :SAMPLES].ravel()
    voice[SAMPLES:] += pieces[:, SAMPLES:].ravel()
    voice = voice[SAMPLES // 2 : -SAMPLES // 2]
    speaking = np.repeat(states != SILENT, SAMPLES)
    power = (voice[speaking] ** 2).mean() if speaking.any() else 1.0
    spread = float(deviation(np.array(snr_db)))
    noisy = voice / np.sqrt(power) + spread * drawn[length : length + len(voice)]
    return np.asarray(LOUDNESS * noisy / np.sqrt(1.0 + spread**2))


def spectrograms(waves: Sequence[Floats]) -> NDArray[np.uint8]:
    """Return the log-mel spectrograms of N waveforms of whole frames, [N, 446, 40] uint8.

    A waveform of T frames has 4 T - 2 steps; zeros stand behind them.
    """
    found = np.zeros((len(waves), *SHAPE[1:]), dtype=np.uint8)
    # All at once, one behind the other: windows begin at whole steps, and those that would reach
    # from one utterance into the next are left out.
    steps = _sound.log_mel(np.concatenate([*waves, np.zeros(3 * _HOP)]), MEL)
    begin = 0
    for row, wave in zip(found, waves, strict=True):
        count = len(wave) // _HOP
        row[: count - 2] = steps[begin : begin + count - 2]
        begin += count
    return found


@cache
def _window() -> Floats:
    return np.asarray(np.sin(np.pi * (np.arange(2 * SAMPLES) + 0.5) / (2 * SAMPLES)))


def _stretched(gains: Floats, hertz: Floats) -> Floats:
    """Return gains [49, G], which stand at every `_APART` Hz, at other frequencies."""
    place = hertz / _APART
    low = place.astype(np.int64)
    part = place - low
    return gains[:, low] * (1.0 - part) + gains[:, low + 1] * part
