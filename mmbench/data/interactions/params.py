"""What a task may set: the structure, how loud and how noisy, and what goes wrong in each split."""

from __future__ import annotations

from typing import Annotated

import msgspec

from mmbench.data.interactions.structures import MODALITIES, Name
from mmbench.errors import SpecError, nearest

Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Part = Annotated[float, msgspec.Meta(gt=0.0, le=1.0)]
Loudness = Annotated[float, msgspec.Meta(ge=0.0, le=20.0)]
Deviation = Annotated[float, msgspec.Meta(gt=0.0, le=5.0)]
Extra = Annotated[float, msgspec.Meta(ge=0.0, le=5.0)]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No key that is not named here."""


class Amplitudes(_Strict, frozen=True):
    """How loud the latent of each modality is, 0..20; None: as the structure has it."""

    text: Loudness | None = None
    vision: Loudness | None = None
    audio: Loudness | None = None


class Deviations(_Strict, frozen=True):
    """The deviation of the noise on every number of a modality, above 0, at most 5."""

    text: Deviation = 1.0
    vision: Deviation = 1.0
    audio: Deviation = 1.0


class Extras(_Strict, frozen=True):
    """The deviation of further noise on a modality, 0..5."""

    text: Extra = 0.0
    vision: Extra = 0.0
    audio: Extra = 0.0


class Rates(_Strict, frozen=True):
    """How often a modality is absent, 0..1, each independently of the others."""

    text: Share = 0.0
    vision: Share = 0.0
    audio: Share = 0.0


class Group(_Strict, frozen=True):
    """An attribute 0 or 1 of every item that one modality shows beside its latent.

    Attributes:
        modality: Which one shows it.
        amplitude: How loud, at every step of time, 0..20.
    """

    modality: Annotated[str, msgspec.Meta(pattern="^(text|vision|audio)$")] = "audio"
    amplitude: Loudness = 1.0


class Changes(_Strict, frozen=True):
    """What is different in one split. In all of it the label is that of the whole item.

    Attributes:
        like: Another split whose items these are, before anything is changed: the same labels,
            latents and noise. Empty: items of its own.
        label_noise: Probability that a label is another one, drawn evenly.
        label_fraction: Share of the items whose label a model is told, above 0; the target of the
            others is -1. What a smaller share tells, a larger one does too. Not in `sentiment`:
            a number cannot be left out.
        feature_noise: Further noise on a modality.
        misaligned: Probability that one modality, drawn evenly, is that of another item.
        conflict: Probability that one modality, drawn evenly from those that say something, is
            that of an item with another label.
        group_correlation: Correlation of the group attribute with the label being in the upper
            half of the classes, -1..1; the task needs a group.
        missing: How often a modality is absent.
    """

    like: str = ""
    label_noise: Share = 0.0
    label_fraction: Part = 1.0
    feature_noise: Extras = Extras()
    misaligned: Share = 0.0
    conflict: Share = 0.0
    group_correlation: Annotated[float, msgspec.Meta(ge=-1.0, le=1.0)] = 0.0
    missing: Rates = Rates()


class Params(_Strict, frozen=True):
    """What a task may set.

    Attributes:
        structure: What the label has to do with the modalities (see `structures`).
        amplitude: How loud the modalities are.
        noise: How noisy they are.
        group: A group attribute, if items shall have one.
        splits: Split -> what is different there.
    """

    structure: Name
    amplitude: Amplitudes = Amplitudes()
    noise: Deviations = Deviations()
    group: Group | None = None
    splits: dict[str, Changes] = {}

    def of(self, split: str) -> Changes:
        """Return what is different in a split."""
        return self.splits.get(split, Changes())


def each(values: Amplitudes | Deviations | Extras | Rates) -> tuple[float | None, ...]:
    """Return the values of text, vision and audio, in this order."""
    return tuple(getattr(values, name) for name in MODALITIES)


def check(params: Params, splits: tuple[str, ...], where: str) -> None:
    """Refuse parameters that do not go together.

    Raises:
        SpecError: A split is unknown, a correlation is asked for of no group, or labels shall be
            left out where they cannot be.
    """
    for name, changes in params.splits.items():
        key = f"{where}.splits.{name}"
        _known(name, splits, key)
        if changes.like:
            _known(changes.like, splits, f"{key}.like = {changes.like!r}")
            if params.of(changes.like).like or changes.like == name:
                raise SpecError(f"{key}.like = {changes.like!r}: name a split with its own items")
        if changes.label_fraction < 1.0 and params.structure == "sentiment":
            raise SpecError(
                f"{key}.label_fraction = {changes.label_fraction}: the intensity of sentiment "
                f"cannot be left out: write 1.0, or take another structure"
            )
        if changes.group_correlation and params.group is None:
            raise SpecError(
                f"{key}.group_correlation = {changes.group_correlation}: there is no group: "
                f'write {where}.group = {{ modality = "audio" }}'
            )


def _known(name: str, splits: tuple[str, ...], key: str) -> None:
    if name not in splits:
        near = nearest(name, splits)
        offer = f"did you mean {near!r}? " if near else ""
        raise SpecError(f"{key}: {offer}the task has the splits {', '.join(splits)}")
