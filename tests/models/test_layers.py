"""Layers against formulas in float64 and against torch's own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from mmbench.models.contract import HeadOut, split_out, stack
from mmbench.models.encoders.elman import Elman
from mmbench.models.encoders.set import SetEncoder
from mmbench.models.layers import Attention, Block, FeedForward, Positions, Tower, drop, pool
from mmbench.types import Branch, Floats, Modality

B, L, T, D, H = 3, 4, 5, 16, 4


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def attention() -> Attention:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Attention(D, H)
        for linear in (layer.query, layer.key_value, layer.out):
            nn.init.normal_(linear.bias)
    return layer


@pytest.fixture
def mask() -> Tensor:
    """Some keys may be heard; every item has one."""
    return torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 0, 1, 0]], dtype=torch.bool)


def by_formula(
    layer: Attention, x: Tensor, memory: Tensor, allowed: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """softmax(Q K^T / sqrt(d)) V of each head, allowed [B, L, T], in float64."""

    def project(linear: nn.Linear, values: Tensor) -> NDArray[np.float64]:
        found = values.double() @ linear.weight.double().T + linear.bias.double()
        return found.detach().numpy()

    query = project(layer.query, x)
    keys, values = np.split(project(layer.key_value, memory), 2, axis=-1)
    size = D // H
    heard = []
    for head in range(H):
        part = slice(head * size, (head + 1) * size)
        scores = query[..., part] @ keys[..., part].transpose(0, 2, 1) / np.sqrt(size)
        scores = np.where(allowed, scores, -np.inf)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        heard.append(weights / weights.sum(axis=-1, keepdims=True) @ values[..., part])
    joined = torch.from_numpy(np.concatenate(heard, axis=-1))
    return project(layer.out, joined)


@torch.no_grad()
def test_attention_is_the_formula(attention: Attention, mask: Tensor) -> None:
    x, memory = noise(B, L, D), noise(B, T, D, seed=1)
    every = np.ones((B, L, T), dtype=bool)
    assert np.allclose(attention(x, memory), by_formula(attention, x, memory, every), atol=1e-5)
    seen = every & mask[:, None].numpy()
    found = attention(x, memory, mask)
    assert np.allclose(found, by_formula(attention, x, memory, seen), atol=1e-5)


@torch.no_grad()
def test_causal_attention_is_the_formula(attention: Attention) -> None:
    x = noise(B, L, D)
    earlier = np.broadcast_to(np.tril(np.ones((L, L), dtype=bool)), (B, L, L))
    found = attention(x, x, causal=True)
    assert np.allclose(found, by_formula(attention, x, x, earlier), atol=1e-5)


@torch.no_grad()
def test_attention_is_torchs_own(attention: Attention, mask: Tensor) -> None:
    x, memory = noise(B, L, D), noise(B, T, D, seed=1)
    weights = torch.cat([attention.query.weight, attention.key_value.weight])
    biases = torch.cat([attention.query.bias, attention.key_value.bias])
    expected, _ = F.multi_head_attention_forward(
        x.transpose(0, 1),
        memory.transpose(0, 1),
        memory.transpose(0, 1),
        D,
        H,
        weights,
        biases,
        None,
        None,
        False,
        0.0,
        attention.out.weight,
        attention.out.bias,
        key_padding_mask=~mask,
        need_weights=False,
    )
    assert torch.allclose(attention(x, memory, mask), expected.transpose(0, 1), atol=1e-5)


@torch.no_grad()
def test_masked_keys_have_no_say_and_no_gradient(attention: Attention, mask: Tensor) -> None:
    x, memory = noise(B, L, D), noise(B, T, D, seed=1)
    other = torch.where(mask[..., None], memory, noise(B, T, D, seed=2) * 100)
    assert torch.equal(attention(x, memory, mask), attention(x, other, mask))
    with torch.enable_grad():
        memory.requires_grad_()
        attention(x, memory, mask).square().sum().backward()
    reached = memory.grad.abs().sum(dim=-1) > 0  # type: ignore[union-attr]
    assert torch.equal(reached, mask)


@torch.no_grad()
def test_attention_in_steps_is_attention_at_once(attention: Attention) -> None:
    x = noise(B, L, D)
    whole = attention(x, x, causal=True)
    keys, values = attention.keys_values(x)
    for at in range(L):
        past = slice(0, at + 1)
        one = attention.attend(x[:, at : at + 1], keys[:, :, past], values[:, :, past])
        assert torch.allclose(one[:, 0], whole[:, at], atol=1e-5)


def test_a_width_that_the_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 heads"):
        Attention(10, 4)


@torch.no_grad()
def test_at_birth_scores_vary_enough_to_tell_keys_apart() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = Attention(64, 4)
    x = F.layer_norm(noise(1, 200, 64), (64,))
    keys, _ = layer.keys_values(x)
    query = layer._split(layer.query(x))
    scores = query @ keys.transpose(2, 3) / 4.0
    assert 1.0 < float(scores.std()) < 4.0


@torch.no_grad()
def test_pool_is_the_mean_of_the_real_tokens(mask: Tensor) -> None:
    x = noise(B, T, D)
    expected = [x[b, mask[b]].double().mean(dim=0) for b in range(B)]
    assert torch.allclose(pool(x, mask).double(), torch.stack(expected), atol=1e-6)
    nothing = torch.zeros(B, T, dtype=torch.bool)
    assert torch.equal(pool(x, nothing), torch.zeros(B, D))


@torch.no_grad()
def test_a_tower_hears_real_tokens_only_and_depth_0_is_a_norm(mask: Tensor) -> None:
    tower = Tower(D, 2).eval()
    x = noise(B, T, D)
    other = torch.where(mask[..., None], x, noise(B, T, D, seed=2) * 100)
    assert torch.equal(tower(x, mask)[mask], tower(other, mask)[mask])
    assert torch.allclose(Tower(D, 0)(x, mask), F.layer_norm(x, (D,)), atol=1e-6)
    assert [name for name, _ in Tower(D, 0).named_parameters()] == ["norm.weight", "norm.bias"]


@torch.no_grad()
def test_a_block_is_two_residual_steps_on_normed_input(mask: Tensor) -> None:
    block = Block(D, H).eval()
    x = noise(B, T, D)
    normed = block.norm_attention(x)
    middle = x + block.attention(normed, normed, mask)
    expected = middle + block.forward_part(block.norm_forward(middle))
    assert torch.allclose(block(x, mask), expected, atol=1e-6)


@torch.no_grad()
def test_the_order_of_tokens_is_nothing_to_a_block_and_something_with_positions() -> None:
    block, positions = Block(D, H).eval(), Positions(T, D)
    x, order = noise(B, T, D), torch.tensor([3, 1, 4, 0, 2])
    assert torch.allclose(block(x[:, order]), block(x)[:, order], atol=1e-5)
    placed = block(positions(x[:, order]))
    assert not torch.allclose(placed, block(positions(x))[:, order], atol=1e-2)


@torch.no_grad()
def test_positions_go_on_where_they_are_told_to_start() -> None:
    positions = Positions(T, D)
    x = noise(B, T, D)
    assert torch.equal(positions(x)[:, 2:4], positions(x[:, 2:4], start=2))
    assert torch.equal(positions(x[:, :2]), x[:, :2] + positions.table[:2])


def test_dropout_0_is_nothing_and_dropout_drops() -> None:
    assert isinstance(drop(0.0), nn.Identity)
    x = torch.ones(50, 100)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        share = float((drop(0.25)(x) == 0).float().mean())
    assert share == pytest.approx(0.25, abs=0.02)
    assert torch.equal(drop(0.25).eval()(x), x)
    assert any(isinstance(part, nn.Dropout) for part in FeedForward(D, D, 0.5).modules())
    assert not any(isinstance(part, nn.Dropout) for part in FeedForward(D, D).modules())


def test_stacked_branches_keep_their_order_and_pad_unheard() -> None:
    one = Branch(
        "one",
        noise(2, 3, D),
        torch.ones(2, 3, dtype=torch.bool),
        noise(2, D),
        torch.tensor([True, False]),
    )
    two = replace(one, name="two", seq=noise(2, 1, D, seed=1), mask=one.mask[:, :1])
    both = stack([one, two])
    assert torch.equal(both.seq[:2], one.seq)
    assert torch.equal(both.seq[2:, :1], two.seq)
    assert both.mask.tolist() == [[True] * 3] * 2 + [[True, False, False]] * 2
    assert both.present.tolist() == [True, False, True, False]
    assert torch.equal(both.pooled, torch.cat([one.pooled, two.pooled]))
    first, second = split_out(HeadOut(both.pooled, both.seq), 2)
    assert torch.equal(first.states, one.pooled)
    assert torch.equal(second.answer, both.seq[2:])


def test_the_elman_cell_is_the_textbooks_with_its_sigmoid() -> None:
    """Against numpy's float64, step by step."""
    made = Elman(Modality("sequence", (5, 3)), 6).eval()
    x = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = made.tokens(x, None)[0].double().numpy()
        found = made(x, None)[0].numpy()
    weight = {name: p.detach().double().numpy() for name, p in made.named_parameters()}

    def sigmoid(v: Floats) -> Floats:
        return np.asarray(1.0 / (1.0 + np.exp(-v)))

    state = np.zeros((2, 6))
    for step in range(5):
        driven = embedded[:, step] @ weight["from_input.weight"].T + weight["from_input.bias"]
        state = sigmoid(state @ weight["from_state.weight"].T + driven)
        out = sigmoid(state @ weight["out.weight"].T + weight["out.bias"])
        spread = np.sqrt(out.var(axis=1, keepdims=True) + made.norm.eps)
        out = (out - out.mean(axis=1, keepdims=True)) / spread
        np.testing.assert_allclose(found[:, step], out, rtol=1e-4, atol=1e-5)


def test_a_set_has_the_same_tokens_in_whatever_order_it_comes() -> None:
    made = SetEncoder(Modality("sequence", (6, 3)), 8).eval()
    x = torch.randn(2, 6, 3, generator=torch.Generator().manual_seed(0))
    lengths = torch.tensor([6, 4])
    order = torch.tensor([2, 0, 3, 1, 4, 5])  # the first four, which both items have
    with torch.no_grad():
        plain, mask = made(x, lengths)
        mixed, _ = made(x[:, order], lengths)
    torch.testing.assert_close(mixed[mask], plain[:, order][mask], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(plain[:, 0], plain[:, 1]), "an element keeps what it is"
