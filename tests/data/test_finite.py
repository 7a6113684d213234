"""Best scores on finite laws: against what is counted one by one."""

from __future__ import annotations

import numpy as np
import pytest

from mmbench.data import _finite


def law(classes: int, values: int) -> np.ndarray:
    drawn = np.random.default_rng(classes).gamma(0.5, size=(classes, values))
    drawn[:, 1] = drawn[:, 0] * 2.0  # two observations that say the same
    drawn[0, 2] = 0.0
    return np.asarray(drawn / drawn.sum())


@pytest.mark.parametrize("classes", [2, 3])
def test_the_best_is_what_counting_says(classes: int) -> None:
    joint = law(classes, 9)
    found = _finite.best(joint)
    accuracy = bits = brier = 0.0
    for value in range(9):
        chances = joint[:, value] / joint[:, value].sum()
        accuracy += max(joint[:, value])
        for label, chance in enumerate(chances):
            if chance:
                bits -= joint[label, value] * np.log2(chance)
            wanted = np.arange(classes) == label
            brier += joint[label, value] * float(((chances - wanted) ** 2).sum())
    assert found["accuracy"] == found["micro_f1"] == pytest.approx(accuracy)
    assert found["bits"] == pytest.approx(bits)
    assert found["nll"] == pytest.approx(bits * np.log(2))
    assert found["brier"] == pytest.approx(brier)
    assert ("auroc" in found) is (classes == 2)


def test_the_area_is_that_of_all_pairs_and_no_other_order_has_a_larger_one() -> None:
    joint = law(2, 7)
    score = joint[1] / joint.sum(axis=0)
    chances = joint / joint.sum(axis=1, keepdims=True)

    def area(order: np.ndarray) -> float:
        more = order[:, None] > order + 1e-12
        same = np.abs(order[:, None] - order) <= 1e-12
        return float(chances[1] @ (more + same / 2) @ chances[0])

    best = _finite.best(joint)["auroc"]
    assert best == pytest.approx(area(score))
    draw = np.random.default_rng(0)
    assert all(area(draw.random(7)) < best + 1e-12 for _ in range(200))


def test_parts_that_are_independent_given_the_label_multiply() -> None:
    one, two = law(2, 3), law(2, 4)
    one, two = (part / part.sum(axis=1, keepdims=True) for part in (one, two))
    both = _finite.independent(one, two)
    assert both.shape == (2, 12)
    assert both[1, 7] == pytest.approx(one[1, 1] * two[1, 3])
    assert _finite.independent().tolist() == [[1.0]]


def test_values_are_picked_with_their_chances() -> None:
    chances = np.tile([0.5, 0.0, 0.2, 0.3], (20_000, 1))
    unit = np.random.default_rng(0).random(20_000)
    found = np.bincount(_finite.pick(chances, unit), minlength=4) / 20_000
    np.testing.assert_allclose(found, chances[0], atol=0.015)
    assert _finite.pick(chances[:2], np.array([0.0, 1.0 - 1e-16])).tolist() == [0, 3]
