"""The exact law of one split: structure, loudness, noise, and everything that goes wrong in it.

All changes but noise and absence act on the table p(y, s), where the *state* s_m of a modality is
its latent, together with the group attribute in the modality that shows it (s = 2 z + a). So the
posterior stays exact under every change, and one program computes it for all.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from mmbench.data.interactions.params import Changes, Params, each
from mmbench.data.interactions.structures import (
    MODALITIES,
    SIZE,
    Floats,
    Ints,
    Name,
    Structure,
    structure,
)

Three = tuple[float, float, float]


@dataclass(frozen=True)
class Law:
    """How the items of a split come about. Hashable: what follows from it is computed once.

    Attributes:
        name: The structure.
        amplitudes: Of the latents of text, vision and audio.
        deviations: Of the noise on them, all kinds together.
        missing: How often each is absent.
        group: The number of the modality that shows the group attribute; None: there is none.
        group_amplitude: How loud it is.
        group_correlation: Its correlation with the label's being in the upper half.
        label_noise: Probability that the label is a wrong one.
        misaligned: Probability that one modality is that of another item.
        conflict: Probability that one is that of an item with another label.
    """

    name: Name
    amplitudes: Three
    deviations: Three
    missing: Three = (0.0, 0.0, 0.0)
    group: int | None = None
    group_amplitude: float = 0.0
    group_correlation: float = 0.0
    label_noise: float = 0.0
    misaligned: float = 0.0
    conflict: float = 0.0

    @property
    def structure(self) -> Structure:
        """What is planted."""
        return structure(self.name)

    @property
    def table(self) -> Floats:
        """[C, S_text, S_vision, S_audio] float64: p(label, states) of an item of the split."""
        return _table(self)

    @property
    def clean(self) -> Floats:
        """[C, S_text, S_vision, S_audio]: the same before labels and modalities are swapped."""
        return _clean(self)


def law(params: Params, split: str) -> Law:
    """Return the law of a split."""
    changes: Changes = params.of(split)
    loud = zip(each(params.amplitude), structure(params.structure).amplitudes, strict=True)
    noises = zip(each(params.noise), each(changes.feature_noise), strict=True)
    group = params.group
    return Law(
        name=params.structure,
        amplitudes=_three(own if asked is None else asked for asked, own in loud),
        deviations=_three(((own or 0.0) ** 2 + (more or 0.0) ** 2) ** 0.5 for own, more in noises),
        missing=_three(rate or 0.0 for rate in each(changes.missing)),
        group=None if group is None else MODALITIES.index(group.modality),
        group_amplitude=0.0 if group is None else group.amplitude,
        group_correlation=changes.group_correlation,
        label_noise=changes.label_noise,
        misaligned=changes.misaligned,
        conflict=changes.conflict,
    )


def _three(values: Iterable[float]) -> Three:
    text, vision, audio = values
    return text, vision, audio


def group_given_label(correlation: float) -> Floats:
    """Return [C, 2], p(a | y): a = 1 has probability (1 +- correlation) / 2, + in the upper half.

    With labels spread evenly, a and the half that y is in then have just that correlation.
    """
    sign = np.where(np.arange(SIZE) >= SIZE // 2, 1.0, -1.0)
    one = 0.5 + 0.5 * correlation * sign
    return np.stack([1.0 - one, one], axis=1)


def state_given_label(table: Floats, modality: int) -> Floats:
    """Return [C, S], p(s_m | y) of one modality."""
    axes = tuple(axis for axis in (1, 2, 3) if axis != modality + 1)
    joint = table.sum(axis=axes)
    return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def swapped_state(table: Floats, modality: int) -> Floats:
    """Return [C, S]: p(s_m) in an item whose label is not y, for each y."""
    own = state_given_label(table, modality)
    label = table.sum(axis=(1, 2, 3))
    joint = label[:, None] * own
    return np.asarray((joint.sum(axis=0) - joint) / (1.0 - label)[:, None])


@cache
def _clean(law: Law) -> Floats:
    table = law.structure.table
    if law.group is None:
        return table
    axis = law.group + 1
    share = group_given_label(law.group_correlation)  # [C, 2]
    with_group = np.expand_dims(table, axis + 1) * share.reshape(
        [-1 if at == 0 else 2 if at == axis + 1 else 1 for at in range(5)]
    )
    shape = list(table.shape)
    shape[axis] *= 2
    return with_group.reshape(shape)


@cache
def _table(law: Law) -> Floats:
    clean = _clean(law)
    everyone = range(len(MODALITIES))
    table = clean
    if law.misaligned:
        label = clean.sum(axis=(1, 2, 3))
        anyone = [
            np.broadcast_to(label @ state_given_label(clean, m), (SIZE, clean.shape[m + 1]))
            for m in everyone
        ]
        table = _replaced(table, law.misaligned, dict(zip(everyone, anyone, strict=True)))
    speaking = law.structure.speaking
    if law.conflict:
        other = {m: swapped_state(clean, m) for m in speaking}
        table = _replaced(table, law.conflict, other)
    if law.label_noise:
        wrong = table.sum(axis=0, keepdims=True) - table
        table = (1.0 - law.label_noise) * table + law.label_noise / (SIZE - 1) * wrong
    return table


def _replaced(table: Floats, rate: float, by: dict[int, Floats]) -> Floats:
    """Return the table if one modality of `by`, drawn evenly, is drawn anew from [C, S]."""
    found = (1.0 - rate) * table
    for modality, states in by.items():
        axis = modality + 1
        shape = [SIZE if at == 0 else states.shape[1] if at == axis else 1 for at in range(4)]
        found = found + rate / len(by) * table.sum(axis=axis, keepdims=True) * states.reshape(shape)
    return found


def latents_of(states: Ints, law: Law, modality: int) -> tuple[Ints, Ints | None]:
    """Split states [N] of a modality into latents and the group attribute, if it shows one."""
    if modality != law.group:
        return states, None
    return states // 2, states % 2
