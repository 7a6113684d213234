"""One item's media to an array: ``decode(kind, content, wanted)``.

Whatever differs from what is wanted is refused, unless the TOML allows the very change: nothing is
resized, cut, resampled or made grey in silence.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data import _hdf5, _sound
from mmbench.data import _video as _video_file
from mmbench.data._sound import MelParams
from mmbench.data.manifest.params import Source

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: More pixels than these are no photograph but a trap.
MOST_PIXELS = 100_000_000
#: Decibels of a spectrogram's byte 0; it reaches from -80 to 20 dB.
LOWEST = -80.0


class BadItemError(Exception):
    """Why an item cannot be read; whoever catches it knows which item."""


@dataclass(frozen=True)
class Wanted:
    """What one item has to be.

    Attributes:
        shape: As the TOML's modality has it.
        source: What may be done to it.
    """

    shape: tuple[int, ...]
    source: Source


def decode(kind: str, content: Path | bytes | _hdf5.Inside, wanted: Wanted) -> Array:
    """Decode one item.

    Args:
        kind: ``image``, ``video``, ``spectrogram``, or ``sequence`` and ``vector`` (a .npy file,
            or an array in an HDF5 file).
        content: A file, or its bytes, or an array in it.
        wanted: Its shape, and what may be changed.

    Returns:
        Image [C, H, W] uint8; video [t, H, W] uint8, grey; spectrogram [C, t, F] uint8, decibels
        from -80 to 20; sequence [t, d] and vector [d] float32; t at most what the shape says. A
        .npy or HDF5 file may hold any of these as it is.

    Raises:
        BadItemError: It is missing, broken, or of another shape.
    """
    if isinstance(content, _hdf5.Inside):
        try:
            return fitted(kind, _hdf5.read(content), wanted)
        except _hdf5.UndecodableError as error:
            raise BadItemError(str(error)) from None
    name = content.name if isinstance(content, Path) else ""
    if name.endswith(".npy") or (not name and kind in ("sequence", "vector")):
        return fitted(kind, _numpy(content), wanted)
    if kind not in _DECODERS:
        raise BadItemError(f"expected a .npy or HDF5 file of a {kind}")
    return fitted(kind, _DECODERS[kind](content, wanted), wanted)


def axis_of_steps(kind: str, axes: int) -> int | None:
    """Return the axis along which an item of a kind has a length of its own; None: it has none.

    Of numbers of another kind than those known here it is the first of two or more.
    """
    known = {
        "video": 0, "spectrogram": 1, "sequence": 0, "image": None, "vector": None, "graph": None,
    }  # fmt: skip
    if kind in known:
        return known[kind]
    return 0 if axes > 1 else None


def fitted(kind: str, array: Array, wanted: Wanted) -> Array:
    """Hold an array against the shape that is wanted; cut it where that is allowed.

    Raises:
        BadItemError: It is of another shape or type, empty, or not finite.
    """
    whole = kind in ("image", "video", "spectrogram")
    if array.dtype.kind not in ("u" if whole else "biuf"):
        raise BadItemError(f"holds {array.dtype}, expected {'uint8' if whole else 'numbers'}")
    if whole and array.dtype != np.uint8:
        raise BadItemError(f"holds {array.dtype}, expected uint8")
    axis = axis_of_steps(kind, len(wanted.shape))
    if array.ndim != len(wanted.shape):
        raise BadItemError(f"has the shape {list(array.shape)}, expected {list(wanted.shape)}")
    if axis is not None:
        steps, most = array.shape[axis], wanted.shape[axis]
        if steps == 0:
            raise BadItemError("is empty: it has 0 steps")
        if steps > most:
            if not wanted.source.cut:
                raise BadItemError(
                    f"has {steps} steps, and the shape says {most} at most: cut = true cuts the "
                    f"rest off"
                )
            array = np.asarray(array.take(range(most), axis=axis))
        rest = [i for i in range(array.ndim) if i != axis]
    else:
        rest = list(range(array.ndim))
    if any(array.shape[i] != wanted.shape[i] for i in rest):
        raise BadItemError(f"has the shape {list(array.shape)}, expected {list(wanted.shape)}")
    if whole:
        return array
    with np.errstate(over="ignore"):  # what is too large for 32 bits becomes infinite
        made = array.astype(np.float32)
    if not np.isfinite(made).all():
        raise BadItemError("holds a number that is not finite")
    return made


def _stream(content: Path | bytes) -> Any:
    return io.BytesIO(content) if isinstance(content, bytes) else content


def _why(error: Exception) -> str:
    told = getattr(error, "strerror", None) or " ".join(str(error).split())
    return str(told)[:200] or type(error).__name__


def _numpy(content: Path | bytes) -> Array:
    try:
        inside = content if isinstance(content, bytes) else content.read_bytes()
        array = np.load(io.BytesIO(inside), allow_pickle=False)
    except (
        Exception
    ) as error:  # numpy raises ValueError, EOFError, OSError and what the header says
        why = "it holds Python objects" if "pickle" in str(error) else _why(error)
        raise BadItemError(f"is not a whole .npy file of numbers: {why}") from None
    if not isinstance(array, np.ndarray):
        raise BadItemError("is an archive of arrays, expected one .npy array")
    return array


def _image(content: Path | bytes, wanted: Wanted) -> Array:
    from PIL import Image, ImageOps

    channels, height, width = wanted.shape
    try:
        with Image.open(_stream(content)) as opened:
            if opened.width * opened.height > MOST_PIXELS:
                raise BadItemError(f"has {opened.width} x {opened.height} pixels: too many")
            pictures = int(getattr(opened, "n_frames", 1))
            if pictures > 1:
                raise BadItemError(f"holds {pictures} pictures, expected one")
            opened.load()
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith(("I", "F")):
                raise BadItemError(f"has the mode {image.mode}, expected 8 bits a pixel")
            if channels == 1 and image.mode not in ("1", "L") and not wanted.source.grey:
                raise BadItemError(
                    f"is in colour ({image.mode}), and the shape has 1 channel: grey = true makes "
                    f"it grey"
                )
            if channels not in (1, 3):
                raise BadItemError(f"the shape has {channels} channels, expected 1 or 3")
            image = image.convert("L" if channels == 1 else "RGB")
            if image.size != (width, height):
                if not wanted.source.resize:
                    raise BadItemError(
                        f"is {image.width} x {image.height} (width x height), expected {width} x "
                        f"{height}: resize = true resizes it"
                    )
                image = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=2.0)
            pixels = np.asarray(image, dtype=np.uint8)
    except BadItemError:
        raise
    except Exception as error:  # Pillow's readers raise many kinds, SyntaxError among them
        raise BadItemError(f"cannot be decoded as an image: {_why(error)}") from None
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _spectrogram(content: Path | bytes, wanted: Wanted) -> Array:
    source = wanted.source
    params = MelParams(
        rate=source.rate,
        window_ms=source.window_ms,
        hop_ms=source.hop_ms,
        bands=wanted.shape[2],
    )
    return np.stack([_sound.log_mel(one, params, LOWEST) for one in _wave(content, wanted).T])


def _wave(content: Path | bytes, wanted: Wanted) -> Floats:
    """Return a sound [S, C] float64, at the rate and of the channels that are wanted."""
    try:
        wave, rate = _sound.decode(_stream(content))
    except _sound.UndecodableError as error:
        raise BadItemError(str(error)) from None
    source, channels = wanted.source, wanted.shape[0]
    if rate != source.rate:
        if not source.resample:
            raise BadItemError(
                f"has {rate} samples a second, and the TOML says {source.rate}: resample = true "
                f"resamples it"
            )
        from scipy.signal import resample_poly

        shared = math.gcd(rate, source.rate)
        wave = resample_poly(wave, source.rate // shared, rate // shared, axis=0)
    if wave.shape[1] != channels and channels == 1 and source.mono:
        wave = wave.mean(axis=1, keepdims=True)
    if wave.shape[1] != channels:
        mend = ": mono = true averages them" if channels == 1 else ""
        raise BadItemError(f"has {wave.shape[1]} channels, and the shape says {channels}{mend}")
    return np.asarray(wave)


def _video(content: Path | bytes, wanted: Wanted) -> Array:
    def grey(frame: Any) -> Array:
        if not wanted.source.grey and not frame.format.name.startswith("gray"):
            raise BadItemError(
                f"may be in colour ({frame.format.name}), and a video is read in grey: grey = true "
                f"allows that"
            )
        # FFmpeg's own conversion, whatever the format: these bytes have to stay the same.
        return np.asarray(frame.to_ndarray(format="gray"))

    try:
        frames = _video_file.decode(_stream(content), grey)
    except _video_file.UndecodableError as error:
        raise BadItemError(str(error)) from None
    return np.stack(frames[:: wanted.source.every])


_DECODERS: dict[str, Callable[[Path | bytes, Wanted], Array]] = {
    "image": _image,
    "spectrogram": _spectrogram,
    "video": _video,
}
