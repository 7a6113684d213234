"""What tests of the statistics draw from: scores and word errors whose truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from mmbench.metrics import family, pseudo_values
from mmbench.stats.crossed import Interval

#: Corpus word error rate: the errors of all items over their words.
(WER,) = family(
    lambda items: items,
    name="wer",
    columns=("errors", "words"),
    values={"wer": lambda sums: sums[..., 0] / sums[..., 1]},
    gradient=lambda sums: np.array([1 / sums[1], -sums[0] / sums[1] ** 2]),
)


def draw_crossed(
    rng: np.random.Generator, seeds: int, items: int, spread: tuple[float, float, float]
) -> np.ndarray:
    """Draw [S, N] around 0 with the standard deviations of seeds, items and rest."""
    by_seed, by_item, rest = (
        sd * rng.standard_normal(shape)
        for sd, shape in zip(spread, ((seeds, 1), (1, items), (seeds, items)), strict=True)
    )
    return by_seed + by_item + rest


def draw_words(
    rng: np.random.Generator, models: Sequence[int], items: int, seed_sd: float, item_sd: float
) -> list[np.ndarray]:
    """Draw rows [S, N, 2] of errors and words for models of the same word error rate, .2.

    Sentences differ in length and, for all models alike, in difficulty; `seed_sd` and `item_sd`
    are relative. What is left is binomial.
    """
    words = rng.integers(3, 30, size=items)
    hard = np.clip(1 + item_sd * rng.standard_normal(items), 0.1, 3)
    drawn = []
    for seeds in models:
        rate = 0.2 * hard * (1 + seed_sd * rng.standard_normal((seeds, 1)))
        errors = rng.binomial(words, np.clip(rate, 0, 1))
        rows = np.stack([errors, np.broadcast_to(words, errors.shape)], axis=-1)
        drawn.append(rows.astype(np.float64))
    return drawn


def wer_values(rows: np.ndarray) -> np.ndarray:
    """Return the pseudo-values [S, N] of rows [S, N, 2]."""
    return np.stack([pseudo_values(WER, of_seed) for of_seed in rows])


def coverage(intervals: Sequence[Interval], truth: float = 0.0) -> float:
    return float(np.mean([found.low <= truth <= found.high for found in intervals]))


def share(times: int, happens: Callable[[int], bool]) -> float:
    """Return in which share of `times` trials something happens."""
    return float(np.mean([bool(happens(trial)) for trial in range(times)]))
