"""What late fusion cannot pass, and how two sources share what they know: both by optimisation."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, softmax

from mmbench.data.interactions import broja, late
from mmbench.data.interactions.late import best_logits, mixture_bits, of_table
from mmbench.data.interactions.structures import structure


def law_of(rule: dict[tuple[int, int], int]) -> np.ndarray:
    """Return p(y, x1, x2) of a function of two sources, all pairs being equally likely."""
    sizes = [max(rule.values()) + 1, *(1 + max(x[i] for x in rule) for i in range(2))]
    table = np.zeros(sizes)
    for (first, second), y in rule.items():
        table[y, first, second] = 1 / len(rule)
    return table


BITS = list(product((0, 1), repeat=2))
AND = law_of({(a, b): a & b for a, b in BITS})
XOR = law_of({(a, b): a ^ b for a, b in BITS})
FIRST = law_of({(a, b): a for a, b in BITS})
BOTH = law_of({(a, b): 2 * a + b for a, b in BITS})
COPY = law_of({(0, 0): 0, (1, 1): 1})


# --- late fusion ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bits", "accuracy"),
    [
        ("redundant", 2.0, 1.0),
        ("imbalanced", 2.0, 1.0),
        ("unique", 2.0, 1.0),
        ("synergy", 0.0, 0.25),
        ("synergy3", 0.0, 0.25),
        # The sign as the text has it, 1 - H(1/4); how strong, 1.
        ("sentiment", 1.18872, 0.75),
        ("grounding", 0.0, 0.25),
        ("shortcut", 0.67601, 17 / 32),
    ],
)
def test_late_fusion_of_latents(name: str, bits: float, accuracy: float) -> None:
    found = of_table(structure(name).table)  # type: ignore[arg-type]
    assert found.bits == pytest.approx(bits, abs=2e-5)
    assert found.accuracy == pytest.approx(accuracy, abs=1e-6)
    assert found.additive >= found.mixture - 1e-5


def test_the_shortcut_is_all_that_late_fusion_has_of_it() -> None:
    table = structure("shortcut").table
    assert of_table(table).additive == pytest.approx(
        broja.information(table.sum(axis=(1, 3))), abs=1e-5
    )


def dual(table: np.ndarray, rounds: int = 3000) -> float:
    """Return the least I_Q(Y; Z) among laws with p's margins of (z) and of each (y, z_m).

    The dual of the best log-linear fusion, by iterative proportional fitting.
    """
    law = np.full(table.shape, 1.0) * (table.sum(axis=0) > 0)
    margins = [(0,)] + [
        tuple(a for a in range(1, table.ndim) if a != keep) for keep in range(1, table.ndim)
    ]
    for _ in range(rounds):
        for gone in margins:
            now, wanted = law.sum(axis=gone, keepdims=True), table.sum(axis=gone, keepdims=True)
            law = law * np.divide(wanted, now, out=np.zeros_like(now), where=now > 0)
    return broja.information(law.reshape(len(law), -1))


@pytest.mark.parametrize("seed", range(6))
def test_the_additive_optimum_is_that_of_the_dual_problem(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.dirichlet(np.full(3 * 2 * 3 * 2, 0.5)).reshape(3, 2, 3, 2)
    found = of_table(table)
    assert found.additive == pytest.approx(dual(table), abs=1e-5)
    joint = broja.information(table.reshape(3, -1))
    alone = [broja.information(table.sum(axis=axes)) for axes in ((2, 3), (1, 3), (1, 2))]
    assert max(alone) - 1e-6 <= found.additive <= joint + 1e-6
    assert max(alone) - 1e-5 <= found.mixture <= joint + 1e-5


def test_the_slope_of_the_additive_optimum_is_zero() -> None:
    table = structure("sentiment").table
    logits = best_logits(table)
    chances = np.exp(logits) / np.exp(logits).sum(axis=0)
    error = table.sum(axis=0) * chances - table
    for axes in ((2, 3), (1, 3), (1, 2)):
        assert np.abs(error.sum(axis=axes)).max() < 1e-6


@pytest.mark.parametrize("seed", range(4))
def test_no_mixture_is_better_than_the_bound(seed: int) -> None:
    generator = np.random.default_rng(seed)
    table = generator.dirichlet(np.full(2 * 3 * 3, 0.4)).reshape(2, 3, 3)
    label = table.sum(axis=(1, 2))

    def loss(flat: np.ndarray) -> float:
        first, second = (softmax(part.reshape(2, 3), axis=0) for part in np.split(flat[:12], 2))
        weight = expit(flat[12])
        mixed = weight * first[:, :, None] + (1 - weight) * second[:, None, :]
        mixed = np.maximum(mixed, 1e-300)  # far out on its way the search may round to nothing
        return float(-(table * np.log2(mixed)).sum() + (label * np.log2(label)).sum())

    starts = generator.normal(size=(8, 13))
    best = -min(minimize(loss, start, method="L-BFGS-B").fun for start in starts)
    assert best <= mixture_bits(table) + 1e-6
    assert best == pytest.approx(mixture_bits(table), abs=1e-3)


def test_late_fusion_of_noisy_sequences_stays_below_that_of_latents() -> None:
    """Jensen's inequality at work: each latent is seen through a noisy channel."""
    channel = np.full((4, 4), 0.1) + 0.6 * np.eye(4)
    table = structure("sentiment").table
    noisy = np.einsum("ytva,tT,vV,aA->yTVA", table, channel, channel, channel)
    assert of_table(noisy).additive < of_table(table).additive - 0.3
    sums = np.einsum("ytva,tT,vV,aA->yTVA", structure("synergy").table, channel, channel, channel)
    assert of_table(sums).bits == pytest.approx(0.0, abs=1e-6)


def test_weights_scaled_by_each_other_pass_the_bound_and_are_no_late_fusion() -> None:
    """A mixture whose weights add up to 1 item by item knows 1/4 bit of an exclusive or."""
    assert of_table(XOR).bits == pytest.approx(0.0, abs=1e-9)
    loud = 1e4
    said = np.array([[1.0, 0.0], [loud, loud + 2.0]])  # [source, class], weight times probability
    mixed = np.stack([said[a] + said[b] for a, b in BITS])
    chances = mixed / mixed.sum(axis=1, keepdims=True)
    truth = np.array([a ^ b for a, b in BITS])
    own = chances[np.arange(4), truth]
    assert 1.0 + np.log2(own).mean() > 0.2


def test_the_late_bound_of_a_law_counts_what_goes_wrong() -> None:
    from mmbench.data.interactions.law import Law

    clean = late.late(Law("redundant", (2.0,) * 3, (1.0,) * 3))  # type: ignore[arg-type]
    dirty = late.late(Law("redundant", (2.0,) * 3, (1.0,) * 3, label_noise=0.3))  # type: ignore[arg-type]
    noise = -0.7 * np.log2(0.7) - 0.3 * np.log2(0.1)
    assert clean.bits == pytest.approx(2.0, abs=1e-5)
    assert dirty.bits == pytest.approx(2.0 - noise, abs=1e-5)


# --- two sources ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "redundant", "first", "second", "synergy"),
    [
        (AND, 0.311278, 0.0, 0.0, 0.5),
        (XOR, 0.0, 0.0, 0.0, 1.0),
        (COPY, 1.0, 0.0, 0.0, 0.0),
        (FIRST, 0.0, 1.0, 0.0, 0.0),
        (BOTH, 0.0, 1.0, 1.0, 0.0),
    ],
    ids=["and", "xor", "copy", "unique", "both"],
)
def test_known_decompositions(
    table: np.ndarray, redundant: float, first: float, second: float, synergy: float
) -> None:
    found = broja.decompose(table)
    told = (found.redundant, found.first, found.second, found.synergy)
    assert told == pytest.approx((redundant, first, second, synergy), abs=2e-4)
    assert found.gap < 1e-4


def brute_force(table: np.ndarray, steps: int = 400) -> float:
    """Return the least I_Q of a table of bits: one free number for each y, on a grid, refined."""
    rows, columns = table.sum(axis=2), table.sum(axis=1)
    low = np.maximum(0.0, rows[:, 0] + columns[:, 0] - rows.sum(axis=1))
    high = np.minimum(rows[:, 0], columns[:, 0])
    best = np.inf
    for _ in range(4):
        grids = [np.linspace(a, b, steps) for a, b in zip(low, high, strict=True)]
        corner = np.stack(np.meshgrid(*grids, indexing="ij"))  # [y, ...]: Q(y, 0, 0)
        cells = np.stack(
            [
                corner,
                rows[:, 0, None, None] - corner,
                columns[:, 0, None, None] - corner,
                rows[:, 1, None, None] - columns[:, 0, None, None] + corner,
            ]
        ).clip(0.0)
        total = cells.sum(axis=1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(cells > 0, cells * np.log2(cells / total), 0.0)
        values = terms.sum(axis=(0, 1))
        place = np.unravel_index(values.argmin(), values.shape)
        label = table.sum(axis=(1, 2))
        best = min(best, float(values[place] - (label * np.log2(label)).sum()))
        at = np.array([grid[i] for grid, i in zip(grids, place, strict=True)])
        width = (high - low) * 4 / steps
        low, high = np.maximum(low, at - width), np.minimum(high, at + width)
    return best


@pytest.mark.parametrize("seed", range(8))
def test_random_laws_of_bits_against_brute_force(seed: int) -> None:
    table = np.random.default_rng(seed).dirichlet(np.full(8, 0.7)).reshape(2, 2, 2)
    found = broja.decompose(table)
    both = broja.information(table.reshape(2, 4))
    assert found.synergy == pytest.approx(both - brute_force(table), abs=2e-4)


@pytest.mark.parametrize("seed", range(4))
def test_the_parts_add_up_and_none_is_negative(seed: int) -> None:
    table = np.random.default_rng(seed).dirichlet(np.full(36, 0.5)).reshape(3, 4, 3)
    found = broja.decompose(table)
    one, two = broja.information(table.sum(axis=2)), broja.information(table.sum(axis=1))
    both = broja.information(table.reshape(3, -1))
    assert found.redundant + found.first == pytest.approx(one)
    assert found.redundant + found.second == pytest.approx(two)
    total = found.redundant + found.first + found.second + found.synergy
    assert total == pytest.approx(both)
    assert min(found.redundant, found.first, found.second, found.synergy) > -2e-4
    turned = broja.decompose(table.swapaxes(1, 2))
    assert turned.first == pytest.approx(found.second, abs=2e-4)
    assert turned.synergy == pytest.approx(found.synergy, abs=2e-4)


def test_the_suite_by_its_latents() -> None:
    for name, part, bits in (
        ("redundant", "redundant", 2.0),
        ("unique", "first", 2.0),
        ("synergy", "synergy", 2.0),
        ("grounding", "synergy", 2.0),
    ):
        table = structure(name).table.sum(axis=3)  # type: ignore[arg-type]
        assert getattr(broja.decompose(table), part) == pytest.approx(bits, abs=2e-4)


def test_what_is_no_law_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected p\(y, x1, x2\) that sums to 1"):
        broja.decompose(np.ones((2, 2, 2)))
