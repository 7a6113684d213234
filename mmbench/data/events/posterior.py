"""Exact inference: what the clips' pixels say about all that was drawn.

Given everything that was drawn, a modality is a known picture in normal noise, so its likelihood is
what a matched filter gives: ``log p(x | s) = (<x, s> - |s|^2 / 2) / sigma^2`` and a constant. The
filters of all frames are applied at once; a hypothesis about the clip adds up one of them a frame.
That is exact but for the rounding of the noise to whole levels and its clipping at 0 and 255.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmbench.data.events import render, sound
from mmbench.data.events.params import MODALITIES
from mmbench.data.events.references import Law, law_of
from mmbench.data.events.world import (
    BOUNCE,
    EVENTS,
    FRAMES,
    HEARD,
    MOTIONS,
    MOVING,
    PERIOD,
    ROLES,
    SOUNDS,
    arrangements,
    roles,
    shifts,
    touches,
)
from mmbench.errors import UsageError

if TYPE_CHECKING:
    from mmbench.types import Array, Floats, Split

# Clips whose filters are applied at once.
_BLOCK = 250
# Noise of less than so many levels is taken for as much: clean pixels are rounded, too.
_LEAST = 0.5


@dataclass(frozen=True)
class Posterior:
    """What N clips say, whatever part of them was looked at.

    Attributes:
        seen: [N, K, 4, 6, 2] likelihood of the video given arrangement, phase, motion and arousal,
            the place averaged out; up to a factor of each clip's own.
        heard: [N, K, 4, 4, 2] likelihood of the audio given arrangement, phase, sound, valence.
        law: That of the split.
    """

    seen: Floats
    heard: Floats
    law: Law

    @cached_property
    def _phases(self) -> Floats:
        """Return [2, 4, 4]: the prior of both phases, apart for asynchronous and synchronous."""
        late = shifts(self.law.asynchrony)
        found = np.zeros((2, PERIOD, PERIOD))
        for seen in range(PERIOD):
            found[1, seen, seen] = 0.5 / PERIOD
            for shift in late:
                found[0, seen, (seen + shift) % PERIOD] += 0.5 / PERIOD / len(late)
        return found

    @cached_property
    def _joint(self) -> Floats:
        """Return [N, K, 4, 4]: arrangement and both phases."""
        seen, heard = self.seen.sum(axis=(3, 4)), self.heard.sum(axis=(3, 4))
        prior = arrangements().chance[:, None, None] * self._phases.sum(axis=0)
        return _normal(seen[:, :, :, None] * heard[:, :, None, :] * prior)

    @cached_property
    def clip(self) -> Floats:
        """[N, 48] of `world.CLIPS`."""
        heard = np.einsum("k,ypq,nkqs->nkpsy", arrangements().chance, self._phases,
                          self.heard.sum(axis=4))  # fmt: skip
        seen = self.seen.sum(axis=4)  # [N, K, 4, 6]
        size = len(seen)
        left = seen.reshape(size, -1, seen.shape[3]).transpose(0, 2, 1)
        found = left @ heard.reshape(size, left.shape[2], -1)
        return _normal(found.reshape(size, -1))

    @cached_property
    def synchrony(self) -> Floats:
        """[N, 2] of `world.SYNCHRONY`."""
        return np.asarray(self.clip.reshape(len(self.clip), -1, 2).sum(axis=1))

    @cached_property
    def motion(self) -> Floats:
        """[N, 6] of `world.MOTIONS`."""
        return np.asarray(self.clip.reshape(len(self.clip), 6, -1).sum(axis=2))

    @cached_property
    def sound(self) -> Floats:
        """[N, 4] of `world.SOUNDS`."""
        return np.asarray(self.clip.reshape(len(self.clip), 6, 4, 2).sum(axis=(1, 3)))

    @cached_property
    def arrangement(self) -> Floats:
        """[N, K] of `world.arrangements`."""
        return np.asarray(self._joint.sum(axis=(2, 3)))

    @cached_property
    def emotion(self) -> Floats:
        """[N, 4] of `world.EMOTIONS`."""
        chance, phases = arrangements().chance, self._phases.sum(axis=0)
        heard = np.einsum("k,pq,nkqv->nkpv", chance, phases, self.heard.sum(axis=3))
        found = np.einsum("nkpv,nkpa->nva", heard, self.seen.sum(axis=3))
        return _normal(found.reshape(len(found), -1))

    @cached_property
    def events(self) -> Floats:
        """[N, 16, 10] of `world.EVENTS`: what happens at each frame."""
        there = touches().astype(np.float64)  # [K, 4, 16]
        either = self._joint
        both = np.einsum("nkpq,kpf,kqf->nf", either, there, there, optimize=True)
        seen = np.einsum("nkp,kpf->nf", either.sum(axis=3), there)
        heard = np.einsum("nkq,kqf->nf", either.sum(axis=2), there)
        moving = (roles()[:, 0] >= 6).astype(np.float64)  # [K, 16]
        prior = arrangements().chance[:, None, None] * self._phases.sum(axis=0)
        given = (prior * self.heard.sum(axis=(3, 4))[:, :, None, :]).sum(axis=3)  # [N, K, 4]
        motion = np.einsum("nkp,nkpm->nkm", given, self.seen.sum(axis=4))
        motion /= motion.sum(axis=(1, 2), keepdims=True)
        found = np.zeros((len(either), FRAMES, len(EVENTS)))
        found[:, :, BOUNCE], found[:, :, HEARD] = seen - both, heard - both
        found[:, :, BOUNCE + HEARD] = both
        found[:, :, MOVING:] = np.einsum("nkm,kf->nfm", motion, moving)
        found[:, :, 0] = 1.0 - found[:, :, 1:].sum(axis=2)
        return np.clip(found, 0.0, 1.0)


def posterior(split: Split, looked_at: frozenset[str]) -> Posterior:
    """Return what the clips of a split say.

    Args:
        split: Any split of this dataset, or a part of one.
        looked_at: The modalities that may be looked at; one that a clip lacks says nothing.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    strange = sorted(looked_at - set(MODALITIES))
    if strange:
        raise UsageError(f"no modality is called {strange[0]!r}: known: {', '.join(MODALITIES)}")
    law = law_of(split)
    found = []
    for name, of in (("video", _seen), ("audio", _heard)):
        likelihood = np.ones((len(split), len(roles()), PERIOD, *_SHAPES[name]))
        here = np.ones(len(split), dtype=bool) if name in looked_at else np.zeros(len(split), bool)
        rows = np.flatnonzero(here & np.asarray(split.present.get(name, here), dtype=bool))
        deviation = max(float(getattr(law, name)), _LEAST)
        for start in range(0, len(rows), _BLOCK):
            part = rows[start : start + _BLOCK]
            pixels = np.asarray(split.inputs[name][part], dtype=np.float64)  # type: ignore[index]
            likelihood[part] = of(pixels, deviation)
        found.append(likelihood)
    return Posterior(found[0], found[1], law)


#: What else the likelihood of a modality is of: motion and arousal, sound and valence.
_SHAPES = {"video": (len(MOTIONS), 2), "audio": (len(SOUNDS), 2)}


def _seen(pixels: Floats, deviation: float) -> Floats:
    """Return [B, K, 4, 6, 2] of videos [B, 16, 24, 24]: see `Posterior.seen`."""
    filters = render.states()  # [4 places, 6, 2, 10 roles, 24, 24]
    scores = _matched(pixels, filters, render.WALL, deviation)
    each = scores.reshape(len(pixels), FRAMES, *filters.shape[:4])
    role = roles()  # [K, 4, 16]
    shown = (role[..., None] == np.arange(ROLES)).reshape(-1, FRAMES * ROLES)
    # [B, places, motions, arousal, frames x roles] @ [frames x roles, K x phases]
    by_state = each.transpose(0, 2, 3, 4, 1, 5).reshape(*_lead(each), FRAMES * ROLES)
    total = by_state @ shown.T.astype(np.float64)
    total = total.reshape(*total.shape[:-1], *role.shape[:2])
    total = np.exp(total - total.max(axis=(1, 2, 3, 4, 5), keepdims=True))
    return np.asarray(total.mean(axis=1).transpose(0, 3, 4, 1, 2))


def _lead(each: Floats) -> tuple[int, ...]:
    return (each.shape[0], *each.shape[2:5])


def _heard(pixels: Floats, deviation: float) -> Floats:
    """Return [B, K, 4, 4, 2] of spectrograms [B, 1, 32, 16]: see `Posterior.heard`."""
    filters = sound.states()  # [4 sounds, 2 valences, 2, 2 steps, 16]
    scores = _matched(pixels, filters, sound.SILENCE, deviation)
    each = scores.reshape(len(pixels), FRAMES, *filters.shape[:3])
    there = touches()  # [K, 4, 16]
    quiet, gain = each[..., 0].sum(axis=1), each[..., 1] - each[..., 0]
    total = np.einsum("bfsv,kpf->bkpsv", gain, there.astype(np.float64), optimize=True)
    total += quiet[:, None, None]
    return np.asarray(np.exp(total - total.max(axis=(1, 2, 3, 4), keepdims=True)))


def _matched(pixels: Floats, filters: Array, level: int, deviation: float) -> Floats:
    """Return [B, 16, S]: how well each frame of [B, ...] fits each of the S clean frames."""
    frames = pixels.reshape(len(pixels) * FRAMES, -1) - level
    flat = filters.reshape(-1, frames.shape[1])
    clean, which = np.unique(flat, axis=0, return_inverse=True)  # many states look alike
    clean = np.ascontiguousarray((clean.astype(np.float64) - level).T)
    fit = (frames @ clean - 0.5 * (clean**2).sum(axis=0)) / deviation**2
    return np.asarray(fit[:, which.ravel()].reshape(len(pixels), FRAMES, -1))


def _normal(weights: NDArray[np.float64]) -> Floats:
    """Divide each clip's weights [N, ...] by their sum."""
    total = weights.sum(axis=tuple(range(1, weights.ndim)), keepdims=True)
    return np.asarray(weights / total)
