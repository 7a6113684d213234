"""The best answers: exact probabilities, and from them decisions for every kind of output."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.data.events.grammar import Facts, Wording, caption, wordings
from mmbench.data.events.posterior import Posterior, posterior
from mmbench.data.events.world import CLIPS, EMOTIONS, EVENTS, SYNCHRONY, arrangements, onsets
from mmbench.data.scenecap.consensus import Consensus
from mmbench.references import texts_of
from mmbench.types import Predictions

if TYPE_CHECKING:
    from mmbench.types import Floats, Split

# Digits by which probabilities are compared: equal ones stay equal on every machine, and the first
# of equals is said.
_DIGITS = 9
# Training clips whose references decide between wordings, and on how many of them all are tried.
_SAMPLE, _FEW, _BETTER = 150, 30, 8


def make_oracle(train: Split) -> Callable[[Split, frozenset[str]], Predictions]:
    """Return the oracle, which words its captions as agrees best with the references of `train`.

    The oracle takes a split (or a part of one) and the modalities that it may look at, any subset
    of video and audio. Of a label it says the likeliest class, which nobody beats in expected
    accuracy, and of each frame, which nobody beats in expected frame accuracy; the probabilities
    in ``OUTPUT.scores`` are the exact ones. Key frames are those at which its events begin. A
    caption says the likeliest arrangement, motion, sound and synchrony. For F1 of events and key
    frames, and for captions, these are no proven optima: such levels are references.
    """

    @cache
    def wording(looked_at: frozenset[str]) -> Wording:
        sample = train.take(np.arange(min(_SAMPLE, len(train))))
        return _best_wording(
            facts(posterior(sample, looked_at)), list(texts_of(sample.references["caption"]).texts)
        )

    def oracle(split: Split, looked_at: frozenset[str]) -> Predictions:
        known = posterior(split, looked_at)
        outputs: dict[str, Any] = {}
        columns: dict[str, Any] = {}
        for name, (of, classes) in _LABELS.items():
            if name in split.references:
                chances = of(known)
                outputs[name] = [classes[k] for k in _likeliest(chances).tolist()]
                columns[f"{name}.scores"] = chances.tolist()
        if "events" in split.references:
            frames = _likeliest(known.events)
            outputs["events"] = [[EVENTS[k] for k in row] for row in frames.tolist()]
            columns["events.keys"] = [row.tolist() for row in onsets(frames)]
        if "caption" in split.references:
            way = wording(looked_at)
            outputs["caption"] = [caption(fact, way) for fact in facts(known)]
        return Predictions(split.ids, outputs, columns)

    return oracle


_LABELS: dict[str, tuple[Callable[[Posterior], Floats], tuple[str, ...]]] = {
    "clip": (lambda known: known.clip, CLIPS),
    "synchrony": (lambda known: known.synchrony, SYNCHRONY),
    "emotion": (lambda known: known.emotion, EMOTIONS),
}


def _likeliest(chances: Floats) -> Any:
    return np.round(chances, _DIGITS).argmax(axis=-1)


def facts(known: Posterior) -> list[Facts]:
    """Return what is likeliest of each clip: its arrangement, motion, sound, synchrony."""
    table = arrangements()
    layout = _likeliest(known.arrangement)
    columns = [
        *(_likeliest(of) for of in (known.motion, known.sound, known.synchrony)),
        *(x[layout] for x in (table.number, table.bounces, table.moves)),
    ]
    return [Facts(*row) for row in np.stack(columns, axis=1).tolist()]


def _best_wording(said: list[Facts], references: list[tuple[str, ...]]) -> Wording:
    """Return the wording with the highest mean CIDEr-D: on all, of those best on a few."""

    def score(clips: int, way: Wording) -> float:
        return by_size[clips].score([caption(fact, way) for fact in said[:clips]])

    few = min(_FEW, len(said))
    by_size = {size: Consensus(references[:size]) for size in {few, len(said)}}
    ways = sorted(wordings(), key=lambda way: score(few, way), reverse=True)[:_BETTER]
    return max(ways, key=lambda way: score(len(said), way))
