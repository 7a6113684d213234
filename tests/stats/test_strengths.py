from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize

from mmbench.errors import UsageError
from mmbench.stats.strengths import plackett_luce


def by_optimisation(rankings: list[list[int]], methods: int, prior: float) -> np.ndarray:
    """Maximise the likelihood directly, on a log scale; the method of strength 1 stands at 0."""

    def cost(logs: np.ndarray) -> float:
        total = -sum(prior * (log - 2 * np.logaddexp(log, 0.0)) for log in logs)
        for ranking in rankings:
            for place in range(len(ranking) - 1):
                rest = logs[ranking[place:]]
                total -= rest[0] - np.logaddexp.reduce(rest)
        return float(total)

    found = np.exp(optimize.minimize(cost, np.zeros(methods), tol=1e-12).x)
    return found / found.sum()


def draw_ranking(rng: np.random.Generator, strengths: np.ndarray) -> list[int]:
    # Exponential waiting times come in an order that is Plackett-Luce.
    return np.argsort(rng.exponential(size=len(strengths)) / strengths).tolist()


def test_two_methods_have_their_shares_of_wins() -> None:
    found = plackett_luce([[0, 1]] * 3 + [[1, 0]], 2, prior=1e-4)
    assert found == pytest.approx([0.75, 0.25], abs=1e-3)


@pytest.mark.parametrize("prior", [0.1, 0.5, 2.0])
def test_it_is_the_maximum_of_the_likelihood(prior: float) -> None:
    rng = np.random.default_rng(0)
    rankings = [draw_ranking(rng, np.array([4.0, 2, 1, 1, 0.3])) for _ in range(12)]
    rankings += [[3, 1], [0, 4, 2]]  # some leave methods out
    found = plackett_luce(rankings, 5, prior=prior)
    assert found == pytest.approx(by_optimisation(rankings, 5, prior), abs=1e-5)
    assert found.sum() == pytest.approx(1.0)


def test_it_recovers_the_strengths_that_rankings_were_drawn_from() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.5, 0.3, 0.15, 0.05])
    found = plackett_luce([draw_ranking(rng, truth) for _ in range(4000)], 4)
    assert found == pytest.approx(truth, abs=0.02)


def test_a_method_that_always_wins_stays_finite_and_one_unseen_is_average() -> None:
    found = plackett_luce([[0, 1]] * 50, 3)
    assert np.isfinite(found).all()
    assert found[0] > found[2] > found[1] > 0


@pytest.mark.parametrize(
    ("rankings", "prior", "message"),
    [
        ([[0, 0, 1]], 0.5, r"each once: \[0, 0, 1\]"),
        ([[]], 0.5, "each once"),
        ([[0, 3]], 0.5, "methods 0 to 2 in a ranking"),
        ([[-1, 0]], 0.5, "methods 0 to 2 in a ranking"),
        ([[0, 1]], 0.0, "prior must be above 0"),
    ],
)
def test_what_is_no_ranking_is_refused(
    rankings: list[list[int]], prior: float, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        plackett_luce(rankings, 3, prior=prior)
