"""The texts of the gallery: all that is told of a scene, in one of several wordings.

The wording is drawn on its own, so it says nothing of which scene a text is of.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from mmbench import rng
from mmbench.data.scenesearch.params import Structure
from mmbench.data.scenesearch.world import TOLD, VALUES, Ints, Scenes
from mmbench.text import SPECIALS
from mmbench.types import Ragged

TEMPLATES = (
    "the {thing} {last} and the call of the {sound}",
    "{last} some {sound} calls near the {thing}",
    "the {thing} is seen and the {sound} heard {last}",
    "{last} there is one {thing} with one {sound}",
)
#: What is said of time of day or heading, each with its synonym.
LAST = {
    "day": ("by day", "at noon"),
    "dusk": ("at dusk", "at sunset"),
    "night": ("at night", "after dark"),
    "storm": ("in storm", "in thunder"),
    **{heading: (f"facing {heading}", f"turned {heading}") for heading in VALUES["heading"]},
}


def draw(seed: int, split: str, items: int) -> Ints:
    """Draw the wordings of N texts: [N, 2], template and synonym."""
    counts = (("template", len(TEMPLATES)), ("synonym", 2))
    columns = [
        rng.integers(seed, "scenesearch", split, name, count=items, below=below)
        for name, below in counts
    ]
    return np.stack(columns, axis=1)


def texts(scenes: Scenes, wordings: Ints, structure: Structure) -> list[str]:
    """Return the text of each scene."""
    columns = {name: getattr(scenes, name) for name in ("shape", "colour", "sound")}
    columns[_last(structure)] = scenes.ground if structure == "independent" else scenes.heading
    rows = np.stack([*columns.values()], axis=1)
    return [
        _text(*(VALUES[n][v] for n, v in zip(columns, row, strict=True)), *wording)
        for row, wording in zip(rows.tolist(), wordings.tolist(), strict=True)
    ]


def _last(structure: Structure) -> str:
    return TOLD[structure][-1]


def _text(shape: str, colour: str, sound: str, last: str, template: int, synonym: int) -> str:
    return TEMPLATES[template].format(
        thing=f"{colour} {shape}", sound=sound, last=LAST[last][synonym]
    )


@cache
def vocabulary(structure: Structure) -> tuple[str, ...]:
    """Return the special tokens, then every word that a text may have, sorted."""
    words = {word for text in TEMPLATES for word in text.split() if "{" not in word}
    for value in VALUES[_last(structure)]:
        words.update(word for text in LAST[value] for word in text.split())
    words.update(word for name in ("shape", "colour", "sound") for word in VALUES[name])
    return (*SPECIALS, *sorted(words))


@cache
def longest() -> int:
    """Return how many words the longest text has."""
    return max(
        len(_text("disc", "red", "robin", "day", template, 0).split())
        for template in range(len(TEMPLATES))
    )


def encode(spoken: list[str], structure: Structure) -> tuple[Ints, Ints]:
    """Return token ids [N, L], 0 behind the last, and lengths [N]."""
    ids = {word: i for i, word in enumerate(vocabulary(structure))}
    table = np.zeros((len(spoken), longest()), dtype=np.int64)
    lengths = np.zeros(len(spoken), dtype=np.int64)
    for k, text in enumerate(spoken):
        tokens = [ids[word] for word in text.split()]
        table[k, : len(tokens)], lengths[k] = tokens, len(tokens)
    return table, lengths


def decode(tokens: Ragged, structure: Structure) -> list[str]:
    """Return the texts of token ids."""
    words = vocabulary(structure)
    rows = np.asarray(tokens.values).tolist()
    counts = np.asarray(tokens.lengths).tolist()
    return [" ".join(words[t] for t in row[:n]) for row, n in zip(rows, counts, strict=True)]
