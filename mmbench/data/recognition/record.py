"""Writes records: a row of a table, or a few clauses of a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmbench.data.recognition.law import AGES, LEVELS, MISSING, SITES, banded
from mmbench.text import SPECIALS

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: Numbers of a row: age and two markers about standardised, one for each site, and for each field
#: whether it is missing. What is missing is 0 everywhere else.
WIDTH = 3 + len(SITES) + 4

DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties")
LEVEL_WORDS = (("low", "reduced"), ("normal", "usual"), ("raised", "elevated"), ("high", "marked"))
SITE_WORDS = (("face", "cheek"), ("trunk", "back"), ("arm", "forearm"), ("sole", "heel"))
#: How each field can be told, and how it can be said that it is missing; "" leaves it out.
CLAUSES = {
    "age": (("in the {0}", "age in the {0}"), ("", "age not known")),
    "s100": (("s100 {0}", "s100 is {0}"), ("", "s100 not taken")),
    "ldh": (("ldh {0}", "ldh is {0}"), ("", "ldh not taken")),
    "site": (("on the {0}", "lesion of the {0}"), ("", "site not told")),
}
#: The orders in which fields can come.
ORDERS = ((0, 3, 1, 2), (3, 0, 1, 2), (0, 3, 2, 1), (3, 1, 2, 0), (1, 2, 0, 3), (2, 1, 3, 0))
#: Even numbers in [0, 1) that a report takes: the order, then wording and synonym of each field.
DRAWS = 1 + 2 * len(CLAUSES)


def rows(fields: Array) -> Array:
    """Return rows of a table, [N, WIDTH] float32 in steps of 1/256.

    Args:
        fields: [N, 4] age less the least one, both markers, site; `MISSING` where one is missing.
    """
    gone = fields == MISSING
    centre = np.array([(AGES - 1) / 2, (LEVELS - 1) / 2, (LEVELS - 1) / 2])
    scaled = (fields[:, :3] - centre) / np.array([16.0, 5.0, 5.0])
    site = fields[:, 3:] == np.arange(len(SITES))
    table = np.hstack([np.where(gone[:, :3], 0.0, scaled), site, gone])
    return np.asarray(np.rint(table * 256) / 256, dtype=np.float32)


def vocabulary() -> tuple[str, ...]:
    """Return the special words, then all words of reports, sorted."""
    words = {word for group in (*LEVEL_WORDS, *SITE_WORDS) for word in group} | set(DECADES)
    clauses = [clause for told, missing in CLAUSES.values() for clause in (*told, *missing)]
    words |= {word for clause in clauses for word in clause.split() if "{" not in word}
    return (*SPECIALS, *sorted(words))


def longest() -> int:
    """Return the words of the longest report."""
    return sum(
        max(len(clause.split()) for clause in (*told, *missing))
        for told, missing in CLAUSES.values()
    )


def reports(fields: Array, draws: Floats) -> list[str]:
    """Write reports.

    Args:
        fields: As in `rows`.
        draws: [N, DRAWS] in [0, 1).
    """
    order = (draws[:, 0] * len(ORDERS)).astype(np.int64)
    wording = (draws[:, 1::2] < 1 / 4).astype(np.int64)
    synonym = (draws[:, 2::2] < 1 / 4).astype(np.int64)
    bands = np.stack([banded(name, fields[:, i]) for i, name in enumerate(("age", "s100", "ldh"))])
    told = np.hstack([bands.T, fields[:, 3:]])
    told = np.where(fields == MISSING, MISSING, told)
    return [
        " ".join(filter(None, (_clause(i, told[n], wording[n], synonym[n]) for i in ORDERS[o])))
        for n, o in enumerate(order.tolist())
    ]


def _clause(field: int, told: Array, wording: Array, synonym: Array) -> str:
    said, missing = list(CLAUSES.values())[field]
    value, way = int(told[field]), int(wording[field])
    if value == MISSING:
        return missing[way]
    words: tuple[str, ...] = (DECADES[value],) if field == 0 else ()
    if not words:
        words = SITE_WORDS[value] if field == 3 else LEVEL_WORDS[value]
    return said[way].format(words[min(int(synonym[field]), len(words) - 1)])
