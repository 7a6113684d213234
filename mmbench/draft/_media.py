"""Measures images, sounds, videos and arrays: what shape a modality of them has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmbench.data import _hdf5
from mmbench.draft._column import Column
from mmbench.errors import MissingExtraError

#: Frames of a sound or a video that a drafted task takes at most.
FRAMES = 1000
#: Pixels of a side beyond which images are resized.
LARGEST = 128
SIDE = 64


def _measure_images(column: Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    from PIL import Image

    sizes: Counter[tuple[int, int]] = Counter()
    grey = True
    for one in found:
        try:
            with Image.open(BytesIO(one) if isinstance(one, bytes) else one) as opened:
                turned = opened.getexif().get(0x0112, 1) in (5, 6, 7, 8)
                sizes[opened.size[::-1] if turned else opened.size] += 1
                grey = grey and opened.mode in ("1", "L")
        except Exception:  # of many kinds; 'mmbench data check' names the file
            continue
    column.kind = "image"
    width, height = sizes.most_common(1)[0][0] if sizes else (SIDE, SIDE)
    if len(sizes) != 1 or max(width, height) > LARGEST:
        column.keys["resize"] = True
        told = f"{width} x {height}" if len(sizes) == 1 else f"{len(sizes)} different sizes"
        column.why += f" of {told}, resized to {SIDE} x {SIDE}"
        width = height = SIDE
    column.shape = (1 if grey and sizes else 3, height, width)


def _measure_sounds(column: Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    try:
        import soundfile
    except ModuleNotFoundError:
        raise MissingExtraError("soundfile, which decodes sound,", "media") from None
    rates: Counter[int] = Counter()
    channels: Counter[int] = Counter()
    longest = 0.0
    for one in found:
        try:
            told = soundfile.info(BytesIO(one) if isinstance(one, bytes) else str(one))
        except (RuntimeError, OSError, TypeError):
            continue
        rates[told.samplerate] += 1
        channels[told.channels] += 1
        longest = max(longest, told.frames / told.samplerate)
    rate = rates.most_common(1)[0][0] if rates else 16000
    column.kind, column.keys["rate"] = "spectrogram", rate
    if len(rates) > 1:
        column.keys["resample"] = True
        column.why += f" of {len(rates)} rates, resampled to {rate}"
    if max(channels, default=1) > 1:
        column.keys["mono"] = True
        column.why += ", channels averaged"
    frames = max(1, int((longest - 0.025) / 0.01) + 2)
    if frames > FRAMES:
        column.keys["cut"] = True
        column.why += f", cut after {FRAMES / 100:g} s"
    column.shape = (1, min(frames, FRAMES), 40)


def _measure_videos(column: Column, found: Sequence[Path | bytes]) -> None:
    from io import BytesIO

    try:
        import av
    except ModuleNotFoundError:
        raise MissingExtraError("PyAV, which decodes video,", "media") from None
    sizes: Counter[tuple[int, int]] = Counter()
    longest, grey = 1, True
    for one in found[:50]:
        try:
            content = BytesIO(one) if isinstance(one, bytes) else str(one)
            with av.open(content, "r") as opened:
                stream = opened.streams.video[0]
                sizes[stream.height, stream.width] += 1
                grey = grey and str(stream.codec_context.pix_fmt).startswith("gray")
                frames = stream.frames or len(list(opened.decode(stream)))
                longest = max(longest, int(frames))
        except (av.FFmpegError, OSError, IndexError):
            continue
    column.kind = "video"
    if not grey:
        column.keys["grey"] = True
        column.why += ", read in grey"
    if longest > FRAMES:
        column.keys["cut"] = True
    height, width = sizes.most_common(1)[0][0] if sizes else (SIDE, SIDE)
    column.shape = (min(longest, FRAMES), height, width)
    if len(sizes) > 1:
        column.why += f" of {len(sizes)} sizes: only those of {width} x {height} can be read"


def measure_arrays(column: Column, found: Sequence[Path | bytes | _hdf5.Inside]) -> None:
    """Say of what kind and shape arrays in files are: vectors, sequences or images."""
    shapes: list[tuple[int, ...]] = []
    whole, why = True, ""
    for one in found:
        if isinstance(one, bytes):
            continue
        try:
            if isinstance(one, _hdf5.Inside):
                shape, kind = _hdf5.look(one)
            else:
                array = np.load(one, mmap_mode="r", allow_pickle=False)
                shape, kind = array.shape, array.dtype
        except (OSError, ValueError, EOFError, _hdf5.UndecodableError) as error:
            why = why or f": {one if isinstance(one, _hdf5.Inside) else one.name}: {error}"
            continue
        shapes.append(shape)
        whole = whole and kind == np.uint8
    axes = {len(shape) for shape in shapes}
    if axes == {1}:
        column.kind, column.shape = "vector", Counter(shapes).most_common(1)[0][0]
        odd = sum(shape != column.shape for shape in shapes)
        column.why += f" of {column.shape[0]} numbers" + (f", but for {odd}" if odd else "")
        column.keys["standardise"] = True
    elif axes == {2}:
        column.kind = "sequence"
        column.shape = (max(shape[0] for shape in shapes), shapes[0][1])
        column.keys["standardise"] = True
    elif axes == {3} and whole:
        column.kind, column.shape = "image", shapes[0]
    else:
        column.role, column.why = "unused", f"arrays of shapes that no kind has{why}"


#: Kind of modality -> what measures the files of a column.
MEASURES = {
    "image": _measure_images,
    "spectrogram": _measure_sounds,
    "video": _measure_videos,
}
