"""Items as files that a page shows and plays: pictures, heat maps, and spectrograms made audible.

No dataset keeps waveforms; models get spectrograms. What a player plays is therefore made from the
spectrogram, one tone for each of its bands, and says so.
"""

from __future__ import annotations

import io
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmbench.report import arrows, canvas, clouds
from mmbench.report.site.names import slug
from mmbench.types import Array, Modality, Ragged, Split

#: Items of one task and split whose media are written; a site of a thousand runs stays small.
MOST = 60
#: Pixels of a side up to which a picture is shown as squares, and from which on it is a JPEG.
_SQUARES, _PHOTO = 56, 96
#: Samples a second, seconds of a frame, hertz of the lowest and of the highest band.
RATE, FRAME, LOW, HIGH = 8000, 0.08, 120.0, 3600.0
#: Seconds of a frame of long spectrograms, which are of recordings.
HOP = 0.01
#: Decibels from silence to the loudest level that a spectrogram can hold.
RANGE = 48.0


@dataclass(frozen=True)
class Medium:
    """One modality of one item.

    Attributes:
        name: The modality.
        kind: ``picture``, ``map``, ``words`` or ``none``.
        label: What a reader has to know of it.
        files: (file, what it is), from the site's top.
        wide, high: Of the pictures, in the pixels of the page.
        sharp: Whether pixels are to be seen as squares.
        sound: The file of the sound; empty where there is none.
        words: Of a text.
    """

    name: str
    kind: str
    label: str
    files: tuple[tuple[str, str], ...] = ()
    wide: int = 0
    high: int = 0
    sharp: bool = False
    sound: str = ""
    words: str = ""


class Media:
    """Writes the media of items, each once, and of so many items of a task at most."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.made: dict[tuple[str, str], list[Medium] | None] = {}
        self.counts: dict[str, int] = {}

    def of(
        self, place: str, split: Split, modalities: dict[str, Modality], row: int
    ) -> list[Medium] | None:
        """Return what an item consists of; None where enough items of its task are shown.

        Args:
            place: Names the data: the same items have the same files.
            split: The items.
            modalities: What there is of each.
            row: Which one.
        """
        key = (place, split.ids[row])
        if key not in self.made:
            self.counts[place] = self.counts.get(place, 0) + 1
            if self.counts[place] > MOST:
                self.made[key] = None
            else:
                stem = f"media/{place}/{slug(split.ids[row])}"
                self.made[key] = [
                    self._medium(stem, name, modality, split, row)
                    for name, modality in modalities.items()
                    if name in split.inputs  # of retrieval, the gallery belongs to no item
                ]
        return self.made[key]

    def _medium(self, stem: str, name: str, modality: Modality, split: Split, row: int) -> Medium:
        there = split.present.get(name)
        if there is not None and not there[row]:
            return Medium(name, "none", "this item lacks it")
        values = split.inputs[name]
        item = (
            values.values[row, : values.lengths[row]] if isinstance(values, Ragged) else values[row]
        )
        stem = f"{stem}-{slug(name)}"
        if modality.kind == "image":
            return self.picture(stem, name, item)
        if modality.kind == "spectrogram":
            return self._spectrogram(stem, name, item)
        if modality.kind == "text":
            known = modality.vocabulary
            words = [known[i] if i < len(known) else f"#{i}" for i in item.tolist() if i]
            return Medium(name, "words", "", words=" ".join(words) or "(empty)")
        if modality.kind == "points":
            file = self._save(stem, clouds.drawn(item), "png")
            label = "seen from the front, near points dark"
            return Medium(name, "picture", label, ((file, name),), 144, 144, sharp=True)
        if item.ndim in (1, 2) and item.dtype.kind == "f":
            return self._map(stem, name, item if item.ndim == 2 else item[None])
        if modality.kind == "graph":
            return self._arrows(stem, name, modality, item)
        return Medium(name, "none", f"{modality.kind}: not shown")

    def picture(self, stem: str, name: str, item: Array) -> Medium:
        """Write pixels [C, H, W] to the file `stem`; of other than three channels the first."""
        pixels = item.transpose(1, 2, 0) if item.shape[0] == 3 else item[0]
        high, wide = pixels.shape[:2]
        photo = max(high, wide) > _PHOTO
        file = self._save(stem, pixels, "jpg" if photo else "png")
        scale = 192 / max(high, wide)
        return Medium(
            name, "picture", "", ((file, name),), round(wide * scale), round(high * scale),
            sharp=max(high, wide) < _SQUARES,
        )  # fmt: skip

    def _spectrogram(self, stem: str, name: str, item: Array) -> Medium:
        channels = len(item)
        told = ("left", "right") if channels == 2 else [str(c + 1) for c in range(channels)]
        files = tuple(
            (self._save(f"{stem}-{c}", _painted(item[c].T[::-1] / 255.0, "magma"), "png"),
             f"{name}, {what}")
            for c, what in enumerate(told)
        )  # fmt: skip
        sound = f"{stem}.wav"
        self._write(sound, audible(item))
        label = "time to the right, pitch upwards, bright is loud"
        return Medium(name, "map", label, files, 224, 96, sharp=True, sound=sound)

    def _map(self, stem: str, name: str, item: Array) -> Medium:
        values = item.T.astype(np.float64)
        most = max(float(np.abs(values).max(initial=0.0)), 1e-9)
        file = self._save(stem, _painted(0.5 + 0.5 * values / most, "RdBu_r"), "png")
        label = (
            f"steps to the right, numbers downwards; red above zero, blue below, at most {most:.2g}"
        )
        return Medium(name, "map", label, ((file, name),), 224, 96, sharp=True)

    def _arrows(self, stem: str, name: str, modality: Modality, item: Array) -> Medium:
        side = arrows.SIDE

        def drawn() -> Any:
            page = canvas.Page(side, side)
            arrows.drawn("", item, modality.vocabulary)(page, 0, -12)
            return page.figure

        self._write(f"{stem}.png", canvas.png(drawn))
        label = "who points at whom, and by which relation"
        return Medium(name, "picture", label, ((f"{stem}.png", name),), side, side)

    def _save(self, stem: str, pixels: Array, kind: str) -> str:
        from PIL import Image

        file = io.BytesIO()
        image = Image.fromarray(np.ascontiguousarray(pixels).astype(np.uint8))
        if kind == "jpg":
            image.save(file, "JPEG", quality=85)
        else:
            image.save(file, "PNG", optimize=True)
        self._write(f"{stem}.{kind}", file.getvalue())
        return f"{stem}.{kind}"

    def _write(self, name: str, content: bytes) -> None:
        path = self.top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _painted(values: Array, palette: str) -> Array:
    """Return values of 0..1 as pixels in a palette of matplotlib."""
    import matplotlib

    colours: Any = matplotlib.colormaps[palette]
    pixels: Array = colours(np.clip(values, 0.0, 1.0), bytes=True)[..., :3]
    return pixels


def audible(item: Array) -> bytes:
    """Return a spectrogram as the bytes of a WAV file: one tone a band, as loud as the band.

    The bands are taken to lie evenly in mel from `LOW` to `HIGH`, a frame to last `FRAME` seconds
    (`HOP` where there are more than 100 of them), what is 0 at the end to be no part of the sound,
    and levels to be decibels over a range of `RANGE`. A level of silence, the least that an item
    has, is silent.

    Args:
        item: [C, T, F] uint8.
    """
    there = np.flatnonzero(item.any(axis=(0, 2)))
    item = item[:, : int(there[-1]) + 1 if len(there) else 1]
    channels, frames, bands = item.shape
    step = round(RATE * (HOP if frames > 100 else FRAME))
    mel = np.linspace(_mel(LOW), _mel(HIGH), bands)
    pitch = 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
    time = np.arange(frames * step) / RATE
    # Phases that differ from band to band, always the same: tones that begin alike would click.
    tones = np.sin(2 * np.pi * (pitch[:, None] * time[None, :] + 0.618 * np.arange(bands)[:, None]))
    silence = float(np.percentile(item, 20)) + 12.0
    level = np.maximum(item.astype(np.float64) - silence, 0.0) / (255.0 - min(silence, 254.0))
    loud = np.where(level > 0, 10.0 ** (RANGE * (level - 1.0) / 20.0), 0.0)
    at = (np.arange(frames * step) + 0.5) / step - 0.5
    sound = np.zeros((channels, frames * step))
    for c in range(channels):
        for band in range(bands):
            sound[c] += np.interp(at, np.arange(frames), loud[c, :, band]) * tones[band]
    # All items alike, so that a quiet one is quiet; many loud bands at once do not overflow.
    samples = np.clip(np.tanh(1.5 * sound) * 28000.0, -32768, 32767).astype("<i2")
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(min(channels, 2))
        out.setsampwidth(2)
        out.setframerate(RATE)
        out.writeframes(np.ascontiguousarray(samples[:2].T).tobytes())
    return file.getvalue()


def _mel(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))
