from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest

from mmbench.errors import UsageError
from mmbench.stats.tuning import expected_best, trials_needed

SCORES = [0.61, 0.2, 0.55, 0.55, 0.7]


@pytest.mark.parametrize("better", [max, min])
def test_it_is_the_mean_over_all_draws(better: object) -> None:
    higher = better is max
    drawn = expected_best(SCORES, higher_is_better=higher)
    chosen = expected_best(SCORES, higher_is_better=higher, replacement=False)
    for n in range(1, 6):
        with_replacement = [better(draw) for draw in product(SCORES, repeat=n)]  # type: ignore[operator]
        without = [better(draw) for draw in combinations(SCORES, n)]  # type: ignore[operator]
        assert drawn[n - 1] == pytest.approx(np.mean(with_replacement))
        assert chosen[n - 1] == pytest.approx(np.mean(without))


def test_one_trial_is_the_mean_and_all_are_the_best() -> None:
    for replacement in (True, False):
        assert expected_best(SCORES, replacement=replacement)[0] == pytest.approx(np.mean(SCORES))
    assert expected_best(SCORES, replacement=False)[-1] == pytest.approx(0.7)
    assert expected_best(SCORES)[-1] < 0.7


def test_without_replacement_it_is_unbiased_and_as_published_too_low() -> None:
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=(200_000, 6)).max(axis=1).mean()  # 6 / 7
    both = [
        np.mean([expected_best(s, replacement=r)[5] for s in rng.uniform(size=(2000, 8))])
        for r in (False, True)
    ]
    assert both[0] == pytest.approx(truth, abs=0.008)
    assert both[1] < truth - 0.03


def test_many_trials_do_not_overflow() -> None:
    curve = expected_best(np.linspace(0, 1, 2000), replacement=False)
    assert (np.diff(curve) > 0).all()
    assert curve[-1] == pytest.approx(1.0)


def test_how_many_trials_a_score_takes() -> None:
    assert trials_needed(SCORES, 0.5) == 1
    assert trials_needed(SCORES, 0.65, replacement=False) == 3
    assert trials_needed(SCORES, 0.7, replacement=False) == 5
    assert trials_needed(SCORES, 0.7) is None
    assert trials_needed([3.0, 1.0], 1.0, higher_is_better=False, replacement=False) == 2


def test_what_is_no_list_of_scores_is_refused() -> None:
    with pytest.raises(UsageError, match=r"scores: expected numbers of shape \[trials\]"):
        expected_best([])
    with pytest.raises(UsageError, match="target must be a finite score"):
        trials_needed(SCORES, float("nan"))
