"""What a task may set: what is spoken and asked for, how it is shown, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mmbench.data.speech.timing import MILLISECONDS
from mmbench.errors import SpecError, nearest

Decibels = Annotated[float, Meta(ge=-30.0, le=60.0)]
Ratios = Decibels | Annotated[tuple[Decibels, ...], Meta(min_length=1)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Delay = Annotated[int, Meta(ge=0, le=120)]
Structure = Literal["words", "context", "translation", "intent"]
Render = Literal["features", "wave"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No key that is not named here."""


class Changes(_Strict, frozen=True):
    """What is different in one split; what is not named is as in all others.

    Attributes:
        like: Another split whose items these are, before anything is changed: the same sentences
            at the same times in the same noise, louder or quieter. Empty: items of its own.
        snr_db: See `Params`.
        occlusion: See `Params`.
        asynchrony_ms: See `Params`.
    """

    like: str = ""
    snr_db: Ratios | None = None
    occlusion: Share | None = None
    asynchrony_ms: Delay | None = None


class Params(_Strict, frozen=True):
    """What a task may set.

    Attributes:
        structure: What is spoken and asked for: ``words`` (any words, to be written down),
            ``context`` (the same, words following one another as a topic likes it, which a text
            tells), ``translation`` (clauses, to be said in another language), ``intent`` (a spoken
            and a typed half of a request).
        render: How voice and lips are given: ``features``, two sequences whose likelihood is
            known; or ``wave``, the log-mel spectrogram of a synthesised waveform and pictures.
        output: Of ``words`` and ``context``: a ``transcript`` (CTC) or a ``text`` (attention).
        source_text: Of ``translation``: whether the sentence is typed, too, with gaps.
        snr_db: Signal-to-noise ratio of the voice in decibels, -30..60; of several, each item has
            one, drawn evenly.
        occlusion: How much of each utterance the lips are covered, one stretch of it, 0..1.
        asynchrony_ms: The lips lead the voice by so many milliseconds at most, 0..120, whole frames
            of 40; how many is drawn evenly for each item.
        splits: Split -> what is different there.
    """

    structure: Structure
    render: Render = "features"
    output: Literal["transcript", "text"] = "transcript"
    source_text: bool = True
    snr_db: Ratios = 0.0
    occlusion: Share = 0.0
    asynchrony_ms: Delay = 0
    splits: dict[str, Changes] = {}

    def of(self, split: str) -> Conditions:
        """Return what holds in a split."""
        own = self.splits.get(split, Changes())
        ratios = self.snr_db if own.snr_db is None else own.snr_db
        return Conditions(
            source=own.like or split,
            ratios=ratios if isinstance(ratios, tuple) else (ratios,),
            occlusion=self.occlusion if own.occlusion is None else own.occlusion,
            asynchrony_ms=self.asynchrony_ms if own.asynchrony_ms is None else own.asynchrony_ms,
        )


@dataclass(frozen=True)
class Conditions:
    """What holds in a split.

    Attributes:
        source: The split whose sentences, times and noise these are.
        ratios: Signal-to-noise ratios that items have, in decibels.
        occlusion: Share of each utterance in which the lips are covered.
        asynchrony_ms: The most that the lips lead by.
    """

    source: str
    ratios: tuple[float, ...]
    occlusion: float
    asynchrony_ms: int

    @property
    def most(self) -> int:
        """The most frames that the lips lead by."""
        return self.asynchrony_ms // MILLISECONDS


def check(params: Params, splits: tuple[str, ...], where: str) -> None:
    """Refuse parameters that do not go together.

    Raises:
        SpecError: A split is unknown, a delay is no whole number of frames, or an output is asked
            for that the structure does not have.
    """
    if params.structure not in ("words", "context") and params.output != "transcript":
        has = "a label" if params.structure == "intent" else "always a text"
        raise SpecError(
            f"{where}.output = {params.output!r}: the output of {params.structure!r} is {has}: "
            f"leave this key out"
        )
    if params.structure != "translation" and not params.source_text:
        raise SpecError(
            f"{where}.source_text = false: only structure = 'translation' has a source text: "
            f"leave this key out"
        )
    _whole(params.asynchrony_ms, f"{where}.asynchrony_ms")
    for name, changes in params.splits.items():
        key = f"{where}.splits.{name}"
        _known(name, splits, key)
        _whole(changes.asynchrony_ms or 0, f"{key}.asynchrony_ms")
        if changes.like:
            _known(changes.like, splits, f"{key}.like = {changes.like!r}")
            if params.of(changes.like).source != changes.like or changes.like == name:
                raise SpecError(f"{key}.like = {changes.like!r}: name a split with its own items")


def _whole(delay: int, key: str) -> None:
    if delay % MILLISECONDS:
        raise SpecError(f"{key} = {delay}: a frame takes {MILLISECONDS} ms: write 0, 40, 80 or 120")


def _known(name: str, splits: tuple[str, ...], key: str) -> None:
    if name not in splits:
        near = nearest(name, splits)
        offer = f"did you mean {near!r}? " if near else ""
        raise SpecError(f"{key}: {offer}the task has the splits {', '.join(splits)}")
