"""Reading out connectionist temporal classification: the likeliest path, or the likeliest text.

Graves et al. 2006, "Connectionist temporal classification" (ICML), doi:10.1145/1143844.1143891. A
path has one symbol or the blank at every step; its text is what is left when repetitions are
merged and blanks removed. Symbol 0 is the blank.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: The number of the blank.
BLANK = 0


def collapse(path: Sequence[int]) -> list[int]:
    """Return the text of a path.

    >>> collapse([0, 2, 2, 0, 2, 5, 5])
    [2, 2, 5]
    """
    before = BLANK
    text = []
    for symbol in path:
        if symbol not in (before, BLANK):
            text.append(int(symbol))
        before = symbol
    return text


def greedy(log_probs: NDArray[np.float64]) -> list[int]:
    """Return the text of the likeliest path; log_probs [T, C]. Ties go to the lower symbol."""
    return collapse(log_probs.argmax(axis=1).tolist())


def prefix_beam(log_probs: NDArray[np.float64], beams: int) -> list[int]:
    """Return the likeliest text that a search of prefixes finds.

    Unlike `greedy` it adds up all paths of a text (Hannun et al. 2014, arXiv:1408.2873, without a
    language model). With as many beams as there are prefixes it is exact. Ties go to the prefix
    that was likelier before, then to the lower symbol.

    Args:
        log_probs: [T, C] float64, normalised over C.
        beams: Prefixes kept after each step.
    """
    prefixes: list[tuple[int, ...]] = [()]
    blank, symbol = np.zeros(1), np.full(1, -np.inf)  # paths that end in the blank, or do not
    with np.errstate(invalid="ignore", divide="ignore"):
        for step in log_probs:
            whole = np.logaddexp(blank, symbol)
            last = np.array([prefix[-1] if prefix else BLANK for prefix in prefixes])
            stay_blank = whole + step[BLANK]
            stay_symbol = np.where(last == BLANK, -np.inf, symbol + step[last])
            longer = whole[:, None] + step  # [K, C]
            rows = np.arange(len(prefixes))
            # The same symbol once more is another one only after a blank.
            longer[rows, last] = blank + step[last]
            longer[:, BLANK] = -np.inf
            place = {prefix: k for k, prefix in enumerate(prefixes)}
            for k, prefix in enumerate(prefixes):
                origin = place.get(prefix[:-1]) if prefix else None
                if origin is not None:  # it is reached from a shorter one that is kept, too
                    more = longer[origin, prefix[-1]]
                    stay_symbol[k] = np.logaddexp(stay_symbol[k], more)
                    longer[origin, prefix[-1]] = -np.inf
            stay = np.logaddexp(stay_blank, stay_symbol)
            scores = np.concatenate([stay, longer.ravel()])
            best = np.argsort(-scores, kind="stable")[:beams]
            best = best[scores[best] > -np.inf]
            kept: list[tuple[int, ...]] = []
            ends = np.empty((2, len(best)))
            for n, chosen in enumerate(best.tolist()):
                if chosen < len(prefixes):
                    kept.append(prefixes[chosen])
                    ends[:, n] = stay_blank[chosen], stay_symbol[chosen]
                else:
                    k, what = divmod(chosen - len(prefixes), log_probs.shape[1])
                    kept.append((*prefixes[k], what))
                    ends[:, n] = -np.inf, longer[k, what]
            prefixes, blank, symbol = kept, ends[0], ends[1]
    return list(prefixes[int(np.logaddexp(blank, symbol).argmax())])
