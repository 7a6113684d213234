"""Which words of a text state facts that hold: read off a dataset's own parser, word by word.

A parser returns facts, not the words that stated them. So each word is swapped for other words:
the facts that then become other facts, and that vanish when the word is left out, are those that
it states. A word that only holds a clause together states none.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

from mmbench.references import SlotParser, Slots, TextReferences
from mmbench.report.samples import Answers, Facts, Sample, facts

#: Items whose references are searched for words to swap in, and words at most.
ITEMS, WORDS = 100, 200


class _Stated(NamedTuple):
    """A filler that a word states, and which of its elements are that word."""

    slot: str
    filler: tuple[str, ...]
    elements: tuple[int, ...]


def verdicts(text: str, truth: Slots, parse: SlotParser, swaps: Sequence[str]) -> list[bool | None]:
    """Judge the words of a text.

    Args:
        text: What was said.
        truth: The slots that hold.
        parse: Reads slots out of a text.
        swaps: Words to try in each place, see `swap_words`.

    Returns:
        For each word (as white space parts them): True, it states what holds; False, it states
        what does not; None, it states nothing. Where a slot has one true filler, a word answers
        for its own part of it: of "red circle" for a blue one, "red" is wrong. Else the whole
        filler has to hold. Where a word takes part in several facts, the shortest, which are the
        most its own, decide: "circle" is an object before it is half of a relation.
    """
    words = text.split()
    said = facts(parse(text))
    stated = {
        place: found
        for place in range(len(words))
        if (found := _stated(words, (place,), said, parse, swaps))
    }
    # A fact that is stated twice outlives the swap of either word: both have to be swapped.
    silent: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        if place not in stated:
            silent.setdefault(word, []).append(place)
    for places in silent.values():
        if len(places) > 1 and (found := _stated(words, places, said, parse, swaps)):
            stated.update(dict.fromkeys(places, found))
    return [_verdict(stated.get(place, []), truth) for place in range(len(words))]


def wrong_facts(answers: Answers, sample: Sample) -> list[str] | None:
    """Return what a prediction states that does not hold, ``count: two, not three``, by slot.

    None where the dataset plants no facts.
    """
    parse = answers.references.parse if answers.references is not None else None
    if parse is None or sample.truth is None:
        return None
    lines = []
    for slot, fillers in parse(sample.said).items():
        right = sample.truth.get(slot, frozenset())
        if fillers - right:
            instead = f", not {_fillers(right - fillers)}" if right - fillers else ""
            lines.append(f"{slot}: {_fillers(fillers - right)}{instead}")
    return lines


def swap_words(references: TextReferences) -> list[str]:
    """Return words that people use, from the references of the first items, in order."""
    seen: dict[str, None] = {}
    for texts in islice(references.texts, ITEMS):
        for text in texts:
            seen.update(dict.fromkeys(text.lower().split()))
        if len(seen) >= WORDS:
            break
    return list(seen)[:WORDS]


def _stated(
    words: Sequence[str],
    places: Sequence[int],
    said: Facts,
    parse: SlotParser,
    swaps: Sequence[str],
) -> list[_Stated]:
    """Return the fewest facts that one word, swapped in some places, turns into as many others."""

    def read(instead: Sequence[str]) -> Facts:
        spoken = [instead if place in places else [word] for place, word in enumerate(words)]
        return facts(parse(" ".join(word for part in spoken for word in part)))

    vanish = said - read([])
    if not vanish:
        return []
    fewest: list[_Stated] = []
    for other in swaps:
        now = read([other])
        lost, gained = said - now, now - said
        same_slots = sorted(slot for slot, _ in lost) == sorted(slot for slot, _ in gained)
        if lost and lost <= vanish and same_slots and (not fewest or len(lost) < len(fewest)):
            fewest = [_pair(fact, gained) for fact in sorted(lost)]
    return fewest


def _pair(fact: tuple[str, tuple[str, ...]], gained: Facts) -> _Stated:
    """Find the elements of a fact that the swap has changed: all, if several could be its heirs."""
    slot, filler = fact
    heirs = [new for name, new in gained if name == slot]
    if len(heirs) == 1 and len(heirs[0]) == len(filler):
        return _Stated(slot, filler, tuple(k for k, e in enumerate(filler) if e != heirs[0][k]))
    return _Stated(slot, filler, tuple(range(len(filler))))


def _verdict(stated: Sequence[_Stated], truth: Slots) -> bool | None:
    if not stated:
        return None
    shortest = min(len(fact.filler) for fact in stated)
    return all(_holds(fact, truth) for fact in stated if len(fact.filler) == shortest)


def _holds(fact: _Stated, truth: Slots) -> bool:
    fillers = truth.get(fact.slot, frozenset())
    if len(fillers) != 1:
        return fact.filler in fillers
    (true,) = fillers
    same_length = len(true) == len(fact.filler)
    return same_length and all(true[k] == fact.filler[k] for k in fact.elements)


def _fillers(fillers: Iterable[tuple[str, ...]]) -> str:
    return ", ".join(sorted(" ".join(filler) for filler in fillers))
