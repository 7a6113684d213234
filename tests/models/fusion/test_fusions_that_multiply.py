"""TFN, LMF, multiplicative interactions, GMU: each against its formula."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from streams import ITEMS, NAMES, WIDTH, fusion, normed, peaks, streams
from torch import Tensor

from mmbench.models.fusion.tensor import outer


def with_one(z: Tensor) -> NDArray[np.float64]:
    return np.append(z.double().numpy(), 1.0)


@torch.no_grad()
def test_the_outer_product_holds_every_product_of_one_number_each() -> None:
    draw = torch.Generator().manual_seed(0)
    factors = [torch.randn(ITEMS, size, generator=draw) for size in (2, 3, 4)]
    found = outer(factors)
    assert found.shape == (ITEMS, 3 * 4 * 5)
    for item in range(ITEMS):
        each = [with_one(z[item]) for z in factors]
        expected = [a * b * c for a, b, c in product(*each)]
        assert np.allclose(found[item].numpy(), expected, atol=1e-6)
        alone = [float(value) for z in factors for value in z[item]]
        assert all(np.isclose(found[item].numpy(), value, atol=1e-6).any() for value in alone)


def test_the_size_of_the_product_follows_from_that_of_its_factors() -> None:
    assert fusion("tensor").merge.in_features == 729
    assert fusion("tensor", NAMES[:2], size=3).merge.in_features == 16


@torch.no_grad()
def test_a_tensor_product_is_a_linear_map_of_the_outer_product() -> None:
    made = fusion("tensor", size=3)
    given = streams()
    z = {name: made.factors[name](x) for name, x in peaks(given).items()}
    weight = made.merge.weight.double().numpy().reshape(WIDTH, 4, 4, 4)
    rows = [
        np.einsum("oijk,i,j,k->o", weight, *(with_one(z[name][item]) for name in NAMES[:3]))
        for item in range(ITEMS)
    ]
    expected = torch.from_numpy(np.stack(rows)) + made.merge.bias.double()
    assert torch.allclose(made(given).branches[0].pooled.double(), normed(expected), atol=1e-4)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@torch.no_grad()
def test_low_rank_factors_stand_for_one_big_tensor(count: int) -> None:
    names = NAMES[:count]
    made = fusion("low_rank_tensor", names, rank=3)
    draw = torch.Generator().manual_seed(1)
    z = {name: torch.randn(ITEMS, WIDTH, generator=draw) for name in names}
    letters = "ijkl"[:count]
    factors = [made.factors[name].double().numpy() for name in names]
    big = np.einsum(
        ",".join(["r", *(f"r{letter}o" for letter in letters)]) + f"->{letters}o",
        made.rank_weights.double().numpy(),
        *factors,
    )
    assert big.shape == (WIDTH + 1,) * count + (WIDTH,)
    found = made.merge(z).double().numpy()
    for item in range(ITEMS):
        each = [with_one(z[name][item]) for name in names]
        expected = np.einsum(",".join([f"{letters}o", *letters]) + "->o", big, *each)
        assert np.allclose(found[item], expected + made.bias.double().numpy(), atol=1e-4)


def test_low_rank_factors_are_parameters_and_train() -> None:
    made = fusion("low_rank_tensor", rank=3)
    names = [f"factors.{name}" for name in NAMES[:3]]
    parameters = dict(made.named_parameters())
    assert set(names) <= set(parameters)
    assert set(names) <= set(made.state_dict())
    before = {name: parameters[name].detach().clone() for name in names}
    assert all(x.shape == (3, WIDTH + 1, WIDTH) for x in before.values())
    optimizer = torch.optim.SGD(made.parameters(), lr=0.1)
    made(streams()).branches[0].pooled[:, 0].sum().backward()
    for name in names:
        gradient = parameters[name].grad
        assert gradient is not None
        assert gradient.abs().amax(dim=(1, 2)).all()  # of every rank
    optimizer.step()
    assert not [name for name in names if torch.equal(parameters[name], before[name])]


@torch.no_grad()
def test_multiplicative_interactions_are_bilinear_forms_of_all_pairs() -> None:
    made = fusion("multiplicative", size=4)
    given = streams()
    z = {name: made.factors[name](x).double().numpy() for name, x in peaks(given).items()}
    expected = np.zeros((ITEMS, WIDTH))
    for name, x in z.items():
        line = made.linear[name]
        expected += x @ line.weight.double().numpy().T + line.bias.double().numpy()
    for one, other in combinations(z, 2):
        weight = made.pairs[one][other].weight.double().numpy()
        expected += np.einsum("bi,oij,bj->bo", z[one], weight, z[other])
    found = made(given).branches[0].pooled.double()
    assert torch.allclose(found, normed(torch.from_numpy(expected)), atol=1e-4)
    assert sum(len(others) for others in made.pairs.values()) == 3


@torch.no_grad()
def test_gates_see_all_modalities_and_need_not_add_up_to_one() -> None:
    made = fusion("gated", NAMES[:2])
    given = streams(NAMES[:2])
    z = {name: made.norms[name](x).double().numpy() for name, x in peaks(given).items()}
    side = np.concatenate(list(z.values()), axis=1)
    gates, expected = [], np.zeros((ITEMS, WIDTH))
    for name, x in z.items():
        gate, candidate = made.gates[name], made.candidates[name]
        inner = side @ gate.weight.double().numpy().T + gate.bias.double().numpy()
        gates.append(1.0 / (1.0 + np.exp(-inner)))
        inner = x @ candidate.weight.double().numpy().T + candidate.bias.double().numpy()
        expected += gates[-1] * np.tanh(inner)
    found = made(given).branches[0].pooled.double()
    assert torch.allclose(found, normed(torch.from_numpy(expected)), atol=1e-4)
    assert not np.allclose(gates[0] + gates[1], 1.0, atol=0.01)
