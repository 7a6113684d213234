"""What is right of a split, together with the law that its clips were drawn from.

The law has to travel with the clips, for the oracle and the bounds are given a split, or a part of
one, and no two splits need be alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mmbench.errors import UsageError
from mmbench.references import FrameReferences, LabelReferences, TextReferences

if TYPE_CHECKING:
    from mmbench.types import Split


@dataclass(frozen=True)
class Law:
    """How the clips of a split came about.

    Attributes:
        video: Deviation of all noise on a pixel of the video, in levels.
        audio: The same of the audio.
        asynchrony: See `params.Params`.
    """

    video: float
    audio: float
    asynchrony: int


@dataclass(frozen=True, kw_only=True)
class PlantedLabels(LabelReferences):
    """One right class a clip, and the law of the split."""

    law: Law


@dataclass(frozen=True, kw_only=True)
class PlantedFrames(FrameReferences):
    """The class of every frame and the key frames, and the law of the split."""

    law: Law


@dataclass(frozen=True, kw_only=True)
class PlantedTexts(TextReferences):
    """Captions and their slots, and the law of the split."""

    law: Law


def law_of(split: Split) -> Law:
    """Return the law of a split.

    Raises:
        UsageError: It is a split of another dataset.
    """
    for references in split.references.values():
        if isinstance(references, PlantedLabels | PlantedFrames | PlantedTexts):
            return references.law
    raise UsageError("this split is not of the dataset 'events', so its law is unknown")
