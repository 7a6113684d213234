"""Which item goes into which split, where the TOML gives shares and the file says nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from mmbench import rng


def assign(units: Sequence[str], shares: Mapping[str, float], seed: int) -> list[str] | None:
    """Return the split of each item; items of one unit (a speaker, a video) share a split.

    Every unit has a random word of its own, drawn from the seed and its name. In the order of
    these words, units fill the splits (by name) up to their shares of the items; a unit goes where
    its middle falls. Neither the order of the file nor what else stands in it shifts a word.

    Args:
        units: [N] the unit of each item.
        shares: Split -> share; they add up to 1.
        seed: The data seed.

    Returns:
        [N] splits; None where the units are too few or too unequal for every split to get one.
    """
    counts = Counter(units)
    words = {unit: int(rng.words(seed, "manifest", "split", unit, count=1)[0]) for unit in counts}
    names = sorted(shares)
    ends, total = [], 0.0
    for name in names:
        total += shares[name]
        ends.append(total * len(units))
    found: dict[str, str] = {}
    before = 0
    for unit in sorted(counts, key=lambda unit: (words[unit], unit)):
        middle = before + counts[unit] / 2
        place = next((i for i, end in enumerate(ends) if middle < end), len(names) - 1)
        found[unit] = names[place]
        before += counts[unit]
    if set(found.values()) != set(names):
        return None
    return [found[unit] for unit in units]
