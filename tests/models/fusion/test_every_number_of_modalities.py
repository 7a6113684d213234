"""What holds for strategies that give one joint branch, whatever the number of modalities."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from streams import ITEMS, NAMES, WIDTH, fusion, streams

from mmbench import registry

#: Fusion -> parameters, and whether it keeps the tokens for decoders.
JOINT = [
    ("sum", {}),
    ("weighted_average", {}),
    ("weighted_average", {"weights": "dynamic"}),
    ("parallel", {}),
    ("parallel", {"level": "tokens"}),
    ("sequential", {}),
    ("sequential", {"axis": "time"}),
    ("tensor", {"size": 3}),
    ("low_rank_tensor", {}),
    ("multiplicative", {}),
    ("gated", {}),
    ("cross_attention", {"own_depth": 1}),
    ("crossmodal", {"depth": 2}),
    ("multimodal_self_attention", {"depth": 2}),
    ("bottleneck", {"own_depth": 1}),
]
CASES = [pytest.param(*case, id=" ".join(map(str, (case[0], *case[1].values())))) for case in JOINT]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("name", "params"), CASES)
def test_it_works_with_this_many_and_every_parameter_is_reached(
    name: str, params: dict[str, object], count: int
) -> None:
    if count < registry.load("fusion", name).at_least:
        pytest.skip("a single modality has nothing to be fused with")
    made = fusion(name, NAMES[:count], **params)
    (branch,) = made(streams(NAMES[:count])).branches
    assert tuple(made.branches) == ("joint",) == (branch.name,)
    assert branch.pooled.shape == (ITEMS, WIDTH)
    assert branch.seq.shape == (*branch.mask.shape, WIDTH)
    assert torch.isfinite(branch.seq).all()
    weights = torch.randn(branch.seq.shape, generator=torch.Generator().manual_seed(1))
    ((branch.pooled * weights[:, 0]).sum() + (branch.seq * weights).sum()).backward()
    cut = [n for n, p in made.named_parameters() if p.grad is None or not p.grad.any()]
    # One step of a GRU from zero has no use for what weighs its state.
    assert not [n for n in cut if count > 1 or not n.startswith("gru.weight_hh")]


@pytest.mark.parametrize(("name", "params"), CASES)
@torch.no_grad()
def test_the_order_of_the_mapping_means_nothing(name: str, params: dict[str, object]) -> None:
    made = fusion(name, **params)
    given = streams()
    (before,) = made(given).branches
    (after,) = made(dict(reversed(given.items()))).branches
    assert torch.equal(before.pooled, after.pooled)
    assert torch.equal(before.seq, after.seq)
    assert torch.equal(before.mask, after.mask)


@pytest.mark.parametrize(("name", "params"), CASES)
@torch.no_grad()
def test_padding_and_neighbours_mean_nothing(name: str, params: dict[str, object]) -> None:
    made = fusion(name, **params)
    given = streams()
    padded = {
        n: replace(
            s,
            x=s.x.masked_fill(~s.mask[..., None], 1e3),
            time=s.time.masked_fill(~s.mask, 0.1),
        )
        for n, s in given.items()
    }
    (before,) = made(given).branches
    (after,) = made(padded).branches
    assert torch.allclose(before.pooled, after.pooled, atol=1e-5)
    one = {
        n: replace(s, **{k: v[3:4] for k, v in vars(s).items() if v is not None})
        for n, s in given.items()
    }
    (alone,) = made(one).branches
    assert torch.allclose(before.pooled[3:4], alone.pooled, atol=1e-5)


@pytest.mark.parametrize(("name", "params"), CASES)
@torch.no_grad()
def test_it_hears_every_modality(name: str, params: dict[str, object]) -> None:
    made = fusion(name, **params)
    given, other = streams(), streams(seed=1)
    (before,) = made(given).branches
    for changed in given:
        mixed = {n: replace(s, x=other[n].x) if n == changed else s for n, s in given.items()}
        (after,) = made(mixed).branches
        assert not torch.allclose(before.pooled, after.pooled, atol=1e-4), changed
