"""What a task may set: noise, asynchrony, captions, and what goes wrong in each split."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mmbench.errors import SpecError, nearest

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Levels = Annotated[int, msgspec.Meta(ge=0, le=40)]

#: The modalities, in order.
MODALITIES = ("video", "audio")


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No key that is not named here."""


class Noise(_Strict, frozen=True):
    """The deviation of normal noise on every pixel of a modality, 0..40 of 255 levels."""

    video: Levels = 0
    audio: Levels = 0


class Rates(_Strict, frozen=True):
    """How often a modality is absent, 0..1, each independently of the other."""

    video: Share = 0.0
    audio: Share = 0.0


class Changes(_Strict, frozen=True):
    """What is different in one split; what is right stays that of the whole clip.

    Attributes:
        like: Another split whose clips these are, with their noise, before anything is changed.
            Empty: clips of its own.
        more_noise: Further noise on a modality.
        missing: How often a modality is absent.
    """

    like: str = ""
    more_noise: Noise = Noise()
    missing: Rates = Rates()


class Params(_Strict, frozen=True):
    """What a task may set.

    Attributes:
        noise: How noisy the modalities are.
        asynchrony: In an asynchronous clip, how many frames at least lie between a sound and the
            nearest bounce of the period: 1 or 2, of the 4 frames from one bounce to the next.
        references: Captions a clip, 1..20.
        splits: Split -> what is different there.
    """

    noise: Noise = Noise(video=12, audio=16)
    asynchrony: Annotated[int, msgspec.Meta(ge=1, le=2)] = 2
    references: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    splits: dict[str, Changes] = {}

    def of(self, split: str) -> Changes:
        """Return what is different in a split."""
        return self.splits.get(split, Changes())


def check(params: Params, splits: tuple[str, ...], where: str) -> None:
    """Refuse changes of splits that the task does not have.

    Raises:
        SpecError: A split is unknown, or is like one that has no clips of its own.
    """
    for name, changes in params.splits.items():
        key = f"{where}.splits.{name}"
        _known(name, splits, key)
        if changes.like:
            _known(changes.like, splits, f"{key}.like = {changes.like!r}")
            if params.of(changes.like).like or changes.like == name:
                raise SpecError(f"{key}.like = {changes.like!r}: name a split with its own clips")


def _known(name: str, splits: tuple[str, ...], key: str) -> None:
    if name not in splits:
        near = nearest(name, splits)
        offer = f"did you mean {near!r}? " if near else ""
        raise SpecError(f"{key}: {offer}the task has the splits {', '.join(splits)}")
