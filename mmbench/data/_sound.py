"""Sound to arrays: decoded by soundfile, noise mixed in at a ratio, log-mel spectrograms.

What a spectrogram holds is told by `MelParams` alone; values are decibels in steps of `STEP`,
one byte each. Everything is numpy in float64, so that a part of a data set has the same bytes
whichever process makes it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta

from mmbench import rng
from mmbench.errors import DataError, MissingExtraError
from mmbench.spec import Positive

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: Decibels of a step of the byte, and those of the byte 0: a spectrogram reaches from -100 to 0 dB,
#: 0 being a tone as loud as the file's format can hold.
STEP, LOWEST = 100.0 / 255.0, -100.0
#: Power that counts as silence.
SILENCE = 1e-10

Above0 = Annotated[float, Meta(gt=0.0)]


class MelParams(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a log-mel spectrogram is made by.

    Attributes:
        rate: Samples a second that files have to have.
        window_ms: Length of the (Hann) window.
        hop_ms: From one window to the next.
        bands: Triangular bands, evenly spaced on the mel scale from 0 to half the rate.
    """

    rate: Positive = 8000
    window_ms: Above0 = 25.0
    hop_ms: Above0 = 10.0
    bands: Positive = 40


def library() -> Any:
    """Import soundfile, or say which extra brings it."""
    try:
        import soundfile
    except ModuleNotFoundError:
        raise MissingExtraError("soundfile, which decodes sound,", "media") from None
    return soundfile


def versions() -> dict[str, str]:
    """Return the versions of what decodes, for the key of a cache."""
    soundfile = library()
    return {"soundfile": soundfile.__version__, "libsndfile": soundfile.__libsndfile_version__}


class UndecodableError(Exception):
    """Why a sound cannot be decoded; whoever catches it knows which one."""


def decode(source: Path | IO[bytes]) -> tuple[Floats, int]:
    """Decode a sound.

    Args:
        source: A file, or one that is open: WAV, FLAC, Ogg, whatever libsndfile reads.

    Returns:
        [S, C] float64 in -1..1, S above 0, and the samples a second.

    Raises:
        UndecodableError: It is missing, cut off, no sound, or empty.
    """
    soundfile = library()
    try:
        with soundfile.SoundFile(str(source) if isinstance(source, Path) else source) as file:
            promised, rate = int(file.frames), int(file.samplerate)
            cut = re.search(r"^data\s*: (\d+) \(should be (\d+)\)", file.extra_info, re.M)
            wave = file.read(dtype="float64", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError, ValueError) as error:
        raise UndecodableError(_why(source, error)) from None
    if cut or len(wave) < promised:
        raise UndecodableError(f"is cut off: it promises {promised} samples")
    if not len(wave):
        raise UndecodableError("holds no sound: it is 0 samples long")
    if not np.isfinite(wave).all():
        raise UndecodableError("holds a sample that is no finite number")
    return np.asarray(wave), rate


def read(path: Path, label: str, rate: int) -> Floats:
    """Decode a file of sound; several channels are averaged.

    Args:
        path: WAV, FLAC, Ogg: whatever libsndfile reads.
        label: What to call it in an error, e.g. its row.
        rate: Samples a second that it has to have: nothing is resampled in silence.

    Returns:
        [S] float64 in -1..1.

    Raises:
        DataError: It is missing, cut off, no sound, empty, or of another rate.
    """
    try:
        wave, found = decode(path)
    except UndecodableError as error:
        raise DataError(f"{path}: {error} ({label}): copy the file again from its source") from None
    if found != rate:
        raise DataError(
            f"{path}: has {found} samples a second ({label}), and the task says {rate}: "
            f"resample it, or name its rate in dataset.params"
        )
    return np.asarray(wave.mean(axis=1))


def _why(source: Path | IO[bytes], error: Exception) -> str:
    if isinstance(source, Path):
        if not source.exists():
            return "there is no such file"
        if source.stat().st_size == 0:
            return "is an empty file"
    told = " ".join(str(error).split())
    return f"cannot be decoded as sound: {told.rpartition('Error : ')[2] or type(error).__name__}"


def log_mel(wave: Floats, params: MelParams, lowest: float = LOWEST) -> Array:
    """Return the power in bands over time, in decibels, as bytes: [S] -> [T, F] uint8.

    A byte is `STEP` decibels, and 0 is `lowest` and whatever is below.

    Windows lie wholly inside of the sound, ``T = 1 + (S - window) // hop``; one that is shorter
    than a window is filled up with silence. Of each the power spectrum |FFT|^2 / sum(window)^2 is
    summed in triangular bands (O'Shaughnessy's mel scale, 2595 log10(1 + f / 700)) whose weights
    add up to one, so that a level does not depend on the number of bands.
    """
    window = max(1, round(params.rate * params.window_ms / 1000))
    hop = max(1, round(params.rate * params.hop_ms / 1000))
    wave = np.pad(wave, (0, max(0, window - len(wave))))
    frames = np.lib.stride_tricks.sliding_window_view(wave, window)[::hop]
    shape = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(window) / window)
    size = 1 << (window - 1).bit_length()
    power = np.abs(np.fft.rfft(frames * shape, n=size)) ** 2 / shape.sum() ** 2  # [T, size/2 + 1]
    # Not by a library of linear algebra: its sums depend on how many rows it is given.
    banks = mel_bands(params.bands, size, params.rate)
    energy = np.stack([_weighted(power, bank) for bank in banks], axis=1)
    decibels = 10.0 * np.log10(np.maximum(energy, SILENCE))
    levels = np.clip(np.rint((decibels - lowest) / STEP), 0, 255)
    return np.asarray(levels, dtype=np.uint8)


def _weighted(power: Floats, bank: Floats) -> Floats:
    """Return the sums [T] of a band, which is narrow: what it weighs by 0 is not looked at."""
    inside = np.flatnonzero(bank)
    own = slice(int(inside[0]), int(inside[-1]) + 1)
    return np.asarray((power[:, own] * bank[own]).sum(axis=1))


def mel_bands(bands: int, size: int, rate: int) -> Floats:
    """Return the weights of each band on each bin of a spectrum: [F, size/2 + 1], rows sum to 1.

    A band between two bins gets the nearest one.
    """
    places = np.arange(size // 2 + 1) * rate / size
    top = 2595.0 * np.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (np.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)
    rows = []
    for low, middle, high in zip(edges, edges[1:], edges[2:], strict=False):
        rise, fall = (places - low) / (middle - low), (high - places) / (high - middle)
        row = np.maximum(0.0, np.minimum(rise, fall))
        if not row.any():
            row[np.abs(places - middle).argmin()] = 1.0
        rows.append(row / row.sum())
    return np.stack(rows)


def mix(wave: Floats, noise: Floats, snr_db: float) -> Floats:
    """Add noise at a signal-to-noise ratio: the ratio of their mean powers over the whole sound.

    Args:
        wave: [S].
        noise: [S], of any power above 0.
        snr_db: In decibels; 0: as loud as the sound.
    """
    signal, other = np.mean(wave**2), np.mean(noise**2)
    if other == 0.0:
        return wave
    return np.asarray(wave + noise * np.sqrt(signal / other / 10.0 ** (snr_db / 10.0)))


def white(seed: int, *names: object, count: int) -> Floats:
    """Draw white noise of variance 1 from a named stream: [count]."""
    pairs = (count + 1) // 2
    first, second = rng.uniform(seed, *names, count=2 * pairs).reshape(2, pairs)
    radius = np.sqrt(-2.0 * np.log1p(-first))  # Box and Muller 1958
    angle = 2.0 * np.pi * second
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
