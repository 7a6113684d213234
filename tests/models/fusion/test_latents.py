"""Latent variables against independent computation: brute force, torch.distributions, loops."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    Normal,
    kl_divergence,
)

from mmbench import registry
from mmbench.models.latents import (
    WIDEST,
    Expert,
    Gaussian,
    discrepancy,
    divergence,
    mean_where,
    product,
    side_by_side,
)
from mmbench.models.reconstruction import CENTRES, Decoder
from mmbench.types import Modality, Stream

WIDTH, ITEMS, LATENT = 8, 4, 3
INPUTS = {
    "a": Modality("sequence", (4, 2)),
    "b": Modality("vector", (5,)),
    "c": Modality("sequence", (3, 2)),
}
GENERATIVE = ("product_of_experts", "mixture_of_experts", "factorised")


def gaussian(*shape: int, seed: int = 0) -> Gaussian:
    generator = torch.Generator().manual_seed(seed)
    return Gaussian(
        torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    )


def fusion_of(name: str, **params: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return registry.load("fusion", name)(list(INPUTS), WIDTH, INPUTS, latent=LATENT, **params)


def streams(seed: int = 1) -> dict[str, Stream]:
    """Four items; 1 lacks ``a``, 2 has ``b`` alone, 3 has nothing."""
    generator = torch.Generator().manual_seed(seed)
    there = {
        "a": torch.tensor([True, False, False, False]),
        "b": torch.tensor([True, True, True, False]),
        "c": torch.tensor([True, True, False, False]),
    }
    made = {}
    for name, modality in INPUTS.items():
        here = there[name]
        tokens = 1 if modality.kind == "vector" else modality.shape[0]
        raw = torch.randn(ITEMS, *modality.shape, generator=generator)
        mask = (torch.arange(tokens) == 0) | here[:, None]
        made[name] = Stream(
            x=torch.randn(ITEMS, tokens, WIDTH, generator=generator),
            mask=mask,
            time=torch.zeros(ITEMS, tokens),
            present=here,
            raw=raw * here.view(-1, *[1] * (raw.dim() - 1)),
        )
    return made


# --- Gaussians ----------------------------------------------------------------------------------


def test_a_product_is_what_multiplying_densities_gives() -> None:
    experts = gaussian(ITEMS, 3, LATENT)
    counts = torch.tensor([[1, 1, 1], [0, 1, 1], [1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    found = product(experts, counts)
    grid = np.linspace(-12, 12, 200_001)
    step = grid[1] - grid[0]
    for item in range(ITEMS):
        for number in range(LATENT):
            log = -0.5 * grid**2
            for expert in range(3):
                if counts[item, expert]:
                    mean = experts.mean[item, expert, number].item()
                    spread = math.exp(experts.log_variance[item, expert, number].item())
                    log = log - 0.5 * (grid - mean) ** 2 / spread
            density = np.exp(log - log.max())
            density /= density.sum() * step
            mean = (grid * density).sum() * step
            variance = ((grid - mean) ** 2 * density).sum() * step
            assert found.mean[item, number].item() == pytest.approx(mean, abs=1e-4)
            assert found.log_variance[item, number].exp().item() == pytest.approx(
                variance, rel=1e-4
            )
    assert not found.mean[3].any()  # with no expert, the prior is left
    assert not found.log_variance[3].any()


def test_divergence_is_that_of_torch_distributions() -> None:
    found = gaussian(ITEMS, 2, LATENT)
    own = Normal(found.mean, (0.5 * found.log_variance).exp())
    expected = kl_divergence(own, Normal(0.0, 1.0)).sum(dim=-1)
    assert torch.allclose(divergence(found), expected, atol=1e-5)
    assert not divergence(Gaussian(torch.zeros(2, 3), torch.zeros(2, 3))).any()


def test_draws_have_the_mean_and_the_variance_that_they_should() -> None:
    one = gaussian(LATENT)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        many = Gaussian(one.mean.expand(40_000, -1), one.log_variance.expand(40_000, -1)).sample()
    assert torch.allclose(many.mean(dim=0), one.mean, atol=0.05)
    assert torch.allclose(many.var(dim=0).log(), one.log_variance, atol=0.05)


def test_an_experts_variance_stays_within_bounds() -> None:
    expert = Expert(WIDTH, LATENT)
    nn.init.constant_(expert.log_variance.weight, 1e4)
    found = expert(torch.randn(6, WIDTH, generator=torch.Generator().manual_seed(0)))
    assert (found.log_variance.abs() <= WIDEST).all()
    assert torch.isfinite(product(side_by_side([found]), torch.ones(6, 1).bool()).mean).all()


def test_discrepancy_is_its_formula_pair_by_pair() -> None:
    found = gaussian(6, LATENT).mean
    counts = torch.tensor([1, 0, 1, 1, 1, 0], dtype=torch.bool)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        value = discrepancy(found, counts)
        torch.manual_seed(5)
        drawn = torch.randn_like(found)
    mine, theirs = found[counts].tolist(), drawn[counts].tolist()

    def kernel(x: list[float], y: list[float]) -> float:
        return math.exp(-sum((p - q) ** 2 for p, q in zip(x, y, strict=True)) / (2 * LATENT))

    def mean(x: list[list[float]], y: list[list[float]]) -> float:
        return sum(kernel(p, q) for p in x for q in y) / (len(x) * len(y))

    expected = mean(mine, mine) + mean(theirs, theirs) - 2 * mean(mine, theirs)
    assert value.item() == pytest.approx(expected, abs=1e-5)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        like, unlike = torch.randn(400, 4), torch.randn(400, 4) + 1.0
        everyone = torch.ones(400, dtype=torch.bool)
        assert discrepancy(like, everyone) < 0.02 < 0.1 < discrepancy(unlike, everyone)
    assert discrepancy(found, torch.zeros(6, dtype=torch.bool)) == 0


def test_the_mean_of_nothing_is_zero() -> None:
    values = torch.tensor([1.0, torch.nan, 3.0])
    assert mean_where(values, torch.tensor([True, False, True])) == 2.0
    assert mean_where(values, torch.zeros(3, dtype=torch.bool)) == 0.0


# --- reconstruction -----------------------------------------------------------------------------

KINDS = {
    "sequence": (Modality("sequence", (5, 2)), torch.tensor([5, 3, 1, 0])),
    "vector": (Modality("vector", (5,)), None),
    "image": (Modality("image", (3, 11, 10)), None),
    "spectrogram": (Modality("spectrogram", (2, 9, 6)), torch.tensor([9, 4, 1, 0])),
    "video": (Modality("video", (5, 9, 6)), torch.tensor([5, 4, 1, 0])),
    "text": (Modality("text", (5,), tuple("-abcdef")), torch.tensor([5, 3, 1, 0])),
    "points": (Modality("points", (5, 2)), torch.tensor([5, 3, 1, 0])),
    "smell": (Modality("smell", (2, 3)), None),  # a kind that somebody adds is numbers
}


def raw_of(modality: Modality) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (ITEMS, *modality.shape)
    if modality.kind == "text":
        return torch.randint(1, len(modality.vocabulary), shape, generator=generator)
    if modality.kind in ("image", "spectrogram", "video"):
        return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize("kind", KINDS)
def test_a_decoders_loss_is_the_likelihood_of_what_is_real(kind: str) -> None:
    modality, lengths = KINDS[kind]
    torch.manual_seed(0)
    decoder = Decoder(modality, LATENT, 6)
    raw, z = raw_of(modality), torch.randn(ITEMS, LATENT)
    found = decoder(z, raw, lengths)
    said = decoder.last(decoder.hidden(z))
    for item in range(ITEMS):
        real = modality.shape[1 if kind == "spectrogram" else 0]
        if lengths is not None:
            real = int(lengths[item])
        if not real:
            assert found[item] == 0
            continue
        if kind == "text":
            each = [-said[item].log_softmax(0)[word] for word in raw[item, :real]]
            expected = torch.stack(each).mean()
        elif kind == "points":
            mixture = MixtureSameFamily(
                Categorical(torch.ones(CENTRES)),
                Independent(Normal(said[item].view(CENTRES, 2), 1.0), 1),
            )
            each = mixture.log_prob(raw[item, :real]) + math.log(2 * math.pi)
            expected = -each.mean() / 2
        elif kind in ("sequence", "vector", "smell"):
            own = said[item].view(modality.shape)
            expected = -Normal(own, 1.0).log_prob(raw[item])[:real].mean() - 0.5 * math.log(
                2 * math.pi
            )
        else:
            p, x = said[item].sigmoid(), raw[item] / 255.0
            each = -(x * p.log() + (1 - x) * (1 - p).log())
            axis = {"spectrogram": 1, "video": 0}.get(kind)
            expected = (each if axis is None else each.narrow(axis, 0, real)).mean()
        assert found[item].item() == pytest.approx(expected.item(), abs=1e-5)


@pytest.mark.parametrize("kind", [k for k, (_, lengths) in KINDS.items() if lengths is not None])
def test_a_decoder_does_not_look_at_padding(kind: str) -> None:
    modality, lengths = KINDS[kind]
    decoder = Decoder(modality, LATENT, 6)
    raw, z = raw_of(modality), torch.randn(ITEMS, LATENT)
    axis = 2 if kind == "spectrogram" else 1
    assert lengths is not None
    beyond = torch.arange(raw.shape[axis]) >= lengths[:, None]
    beyond = beyond.view(ITEMS, *[n if a == axis else 1 for a, n in enumerate(raw.shape)][1:])
    rubbish = 10**6 if kind == "text" else float("nan")
    plain = raw if kind == "text" else raw.float()
    dirty = torch.where(beyond, torch.full_like(plain, rubbish), plain)
    assert not torch.equal(dirty, plain)
    assert torch.equal(decoder(z, dirty, lengths), decoder(z, plain, lengths))


def test_what_cannot_be_reconstructed_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot reconstruct a modality of kind 'signs'"):
        Decoder(Modality("signs", (3,), ("a", "b")), LATENT, 6)


# --- the strategies -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", GENERATIVE)
def test_losses_come_with_training_only_and_draw_from_torchs_generator(name: str) -> None:
    fusion = fusion_of(name)
    assert fusion.draws
    assert not fusion.eval()(streams()).losses
    assert torch.equal(fusion(streams()).branches[0].pooled, fusion(streams()).branches[0].pooled)
    fusion.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        once = fusion(streams()).losses
        again = fusion(streams()).losses
        torch.manual_seed(0)
        repeated = fusion(streams()).losses
    for key, value in once.items():
        assert value.dim() == 0
        assert torch.isfinite(value)
        assert torch.equal(value, repeated[key])
    assert any(not torch.equal(value, again[key]) for key, value in once.items())


@pytest.mark.parametrize("name", GENERATIVE)
def test_items_without_anything_take_no_part_in_the_losses(name: str) -> None:
    fusion = fusion_of(name).train()
    nothing = streams()
    for stream in nothing.values():
        stream.present = torch.zeros_like(stream.present)
    assert all(value == 0 for value in fusion(nothing).losses.values())


def test_the_elbo_of_experts_that_multiply_is_the_sum_over_its_subsets() -> None:
    fusion = fusion_of("product_of_experts", kl=0.3, reconstruction=0.7, weights={"b": 2.0})
    made = streams()
    experts = gaussian(ITEMS, 3, LATENT)
    here = torch.stack([s.present for s in made.values()], dim=1)
    joint = product(experts, here)
    # No noise: variances of e^-60, which the product of the test's experts does not have.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        z = joint.sample()
        state = torch.get_rng_state()
        found = fusion.elbo(z, joint, experts, here, made)
        torch.set_rng_state(state)
        alone = [product(experts, torch.eye(3, dtype=torch.bool)[m].expand(4, 3)) for m in range(3)]
        drawn = [a.sample() for a in alone]
    given, apart = 0.0, 0.0
    for at, (name, stream) in enumerate(made.items()):
        rows = stream.present
        weight = 2.0 if name == "b" else 1.0
        for source in (z, drawn[at]):
            loss = fusion.decoders.each[name](source, stream.raw, None)
            given += weight * loss[rows].mean().item()
        apart += divergence(alone[at])[rows].mean().item() / LATENT
    apart += divergence(joint)[here.any(dim=1)].mean().item() / LATENT
    assert found["reconstruction"].item() == pytest.approx(0.7 * given / 4, abs=1e-5)
    assert found["kl"].item() == pytest.approx(0.3 * apart / 4, abs=1e-5)


@torch.no_grad()
def test_a_mixture_has_the_products_of_all_sets_or_the_experts_themselves() -> None:
    experts = gaussian(ITEMS, 3, LATENT)
    fusion = fusion_of("mixture_of_experts")
    expected = [s for n in (1, 2, 3) for s in combinations(range(3), n)]
    assert fusion.sets == expected
    parts = fusion.components(experts)
    for row, members in enumerate(expected):
        counts = torch.tensor([m in members for m in range(3)]).expand(ITEMS, 3)
        alone = product(experts, counts)
        assert torch.allclose(parts.mean[:, row], alone.mean, atol=1e-6)
        assert torch.allclose(parts.log_variance[:, row], alone.log_variance, atol=1e-6)
    here = torch.tensor([[1, 1, 1], [0, 1, 1], [0, 1, 0], [1, 1, 1]], dtype=torch.bool)
    weights = fusion.mixture(here)
    assert (weights > 0).sum(dim=1).tolist() == [7, 3, 1, 7]
    assert torch.allclose(weights.sum(dim=1), torch.ones(ITEMS))
    assert weights[1].nonzero().flatten().tolist() == [1, 2, 5]  # b, c, and both
    single = fusion_of("mixture_of_experts", experts="single")
    assert single.sets == [(0,), (1,), (2,)]
    assert torch.equal(single.components(experts).mean, experts.mean)
    with pytest.raises(ValueError, match="expected 'subsets' or 'single'"):
        fusion_of("mixture_of_experts", experts="all")


@torch.no_grad()
def test_an_absent_modality_leaves_the_product_and_the_mixture() -> None:
    for name in ("product_of_experts", "mixture_of_experts"):
        fusion = fusion_of(name).eval()
        before = fusion(streams()).branches[0].pooled
        moved = streams()
        for stream in moved.values():  # the null token of what is absent says something else
            stream.x = torch.where(stream.present[:, None, None], stream.x, stream.x.flip(-1))
        after = fusion(moved).branches[0].pooled
        assert torch.allclose(before[:3], after[:3], atol=1e-6)
        assert not torch.allclose(before[3], after[3], atol=1e-3)  # nothing there: all are heard


def test_the_factor_of_the_task_and_a_modalitys_own_both_reach_its_reconstruction() -> None:
    fusion = fusion_of("factorised", prior=0.0).train()
    loss = fusion(streams()).losses["reconstruction"]
    gradients = dict(
        zip(
            [n for n, _ in fusion.named_parameters()],
            torch.autograd.grad(loss, list(fusion.parameters()), allow_unused=True),
            strict=True,
        )
    )
    for reached in ("shared.weight", "own.a.weight", "own_factors.b.0.weight", "decoders"):
        assert any(
            n.startswith(reached) and g is not None and g.any() for n, g in gradients.items()
        )
    assert gradients["project.weight"] is None  # the task's own way
