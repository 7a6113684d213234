"""What can be known of the second line from a part of what is given: the grammar's own law.

Everything that is drawn is even and independent: hour, person, rhyme and tail of the first line;
count, colour, thing and place of the picture. So, given

* the first line alone, each count has the chance 1/3, each colour 1/5, each thing 1/4, and so has
  each of the four words that rhyme, since each place is as likely;
* the picture alone, he and she have 1/2, each rhyme 1/4, and of its words the place's own and that
  of the opposite place 1/2 each;
* nothing, each of these and each of the four words 1/4.

Wordings are independent of all facts. A second line has the probability of its facts times that of
its wording, and the oracle says the likeliest one. That is the answer which is right most often
word by word; it need not be the best one for BLEU, chrF or CIDEr-D: those levels are references.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.scenecap.oracle import best_f1
from mmbench.data.text_generation import verse
from mmbench.data.text_generation.references import facts_of
from mmbench.data.text_generation.verse import Facts
from mmbench.errors import UsageError
from mmbench.types import Predictions

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mmbench.types import Floats, Split

#: The modalities, in the order of tasks that have both.
MODALITIES = ("image", "prompt")


def _open(fact: Facts, heard: frozenset[str]) -> list[Sequence[int]]:
    """Return what each of the facts can be given what is heard; all combinations are as likely."""
    image, prompt = "image" in heard, "prompt" in heard
    endings: Sequence[int] = range(len(verse.PLACES))
    if image:  # without the hour nobody knows whether it is the place's own word
        endings = tuple(sorted((fact.ending, verse.OPPOSITE[fact.ending])))
    if image and prompt:
        endings = (fact.ending,)
    return [
        (fact.pronoun,) if prompt else range(len(verse.PRONOUNS)),
        (fact.number,) if image else range(len(verse.COUNTS)),
        (fact.colour,) if image else range(len(verse.COLOURS)),
        (fact.thing,) if image else range(len(verse.THINGS)),
        (fact.rhyme,) if prompt else range(len(verse.RHYMES)),
        endings,
    ]


def known(fact: Facts, heard: frozenset[str]) -> dict[Facts, float]:
    """Return the facts that are possible given what is heard, and their probabilities.

    Args:
        fact: Those of the item.
        heard: ``image``, ``prompt``, both or none.
    """
    every = [Facts(*values) for values in product(*_open(fact, heard))]
    return dict.fromkeys(every, 1.0 / len(every))


def lines(fact: Facts, heard: frozenset[str]) -> Iterator[tuple[str, float]]:
    """Return every second line that is possible given what is heard, and its probability."""
    for facts, chance in known(fact, heard).items():
        for wording in verse.wordings():
            yield verse.closing(facts, wording), chance * verse.chance(wording)


def bits(heard: frozenset[str]) -> float:
    """Return the entropy of the second line given what is heard, in bits a line.

    Nobody's log loss on these lines is lower on average; over the tokens of a line and as a power
    of 2 it is the least perplexity.
    """
    facts = np.array(list(known(Facts(0, 0, 0, 0, 0, 0), heard).values()))
    ways = np.array([verse.chance(wording) for wording in verse.wordings()])
    return float(-(facts * np.log2(facts)).sum() - (ways * np.log2(ways)).sum())


def oracle(split: Split, heard: frozenset[str]) -> Predictions:
    """Answer with the likeliest second line of each item; of equally likely facts the first.

    Args:
        split: Any split of this dataset, or a part of one.
        heard: The modalities to look at, any subset of those that it has.

    Raises:
        UsageError: A name is no modality, or the split is of another dataset.
    """
    for name in sorted(heard - set(split.inputs)):
        raise UsageError(f"unknown modality {name!r}: the data have {', '.join(split.inputs)}")
    way = verse.likeliest()
    guesses = (Facts(*(values[0] for values in _open(fact, heard))) for fact in facts_of(split))
    said = [verse.closing(guess, way) for guess in guesses]
    return Predictions(split.ids, {"continuation": said})


#: Slot -> how likely its likeliest filler is without the picture, without the first line, and
#: without both.
_CHANCES = {
    "object": (1 / 4, 1.0, 1 / 4),
    "attribute": (1 / 20, 1.0, 1 / 20),
    "count": (1 / 3, 1.0, 1 / 3),
    "sound": (1.0, 1 / 4, 1 / 4),
    "relation": (1 / 4, 1 / 8, 1 / 16),
    "who": (1.0, 1 / 2, 1 / 2),
}


def bounds(split: Split) -> dict[str, dict[str, float]]:
    """Return proven upper bounds: metric -> modality -> expected value at most.

    A line fills each slot once at most, so `best_f1` over the chances above bounds the F1 of a
    slot, and of all slots together, whatever is said.
    """
    items = len(split)
    found: dict[str, dict[str, float]] = {}
    for modality, column in (("prompt", 0), ("image", 1)):
        if modality not in split.inputs:
            continue
        rows = {slot: np.full((1, items), row[column]) for slot, row in _CHANCES.items()}
        for slot, chances in rows.items():
            if slot != "who":  # it has no metric of its own, and counts in `slot_f1`
                found.setdefault(f"{slot}_f1", {})[modality] = best_f1(chances, items)
        every: Floats = np.concatenate(list(rows.values()))
        found.setdefault("slot_f1", {})[modality] = best_f1(every, len(rows) * items)
    return found


def late_references(split: Split) -> dict[str, float]:
    """Return what late fusion scores on the last word: a reference, no bound.

    The first line leaves four words alike, whatever its hour; the picture, of each rhyme, its
    place's and the opposite one. A mixture of both has two words left, and cannot tell which.
    """
    return {"relation_f1": 0.5} if set(MODALITIES) <= set(split.inputs) else {}
