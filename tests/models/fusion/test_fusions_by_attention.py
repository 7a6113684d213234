"""Cross-attention, MulT, multimodal self-attention, MBT: who hears whom, and by which formula."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from streams import ITEMS, NAMES, WIDTH, fusion, normed, streams
from torch import Tensor, nn

from mmbench.models.attention import CrossBlock


def token_gradients(made: Any, names: tuple[str, ...]) -> dict[str, set[str]]:
    """Return whose tokens reach the tokens that each modality has in the memory."""
    given = streams(names)
    for s in given.values():
        s.x.requires_grad_()
    (branch,) = made(given).branches
    draw = torch.Generator().manual_seed(1)
    ends, start = {}, 0
    for name, s in given.items():
        ends[name] = (start, start + s.x.shape[1])
        start += s.x.shape[1]
    reached = {}
    for target, (first, last) in ends.items():
        value = (branch.seq[:, first:last] * torch.randn(last - first, WIDTH, generator=draw)).sum()
        found = torch.autograd.grad(value, [s.x for s in given.values()], retain_graph=True)
        reached[target] = {name for name, g in zip(given, found, strict=True) if g.abs().max() > 0}
    return reached


@torch.no_grad()
def test_a_block_across_streams_equals_torchs_attention() -> None:
    torch.manual_seed(0)
    block = CrossBlock(WIDTH, heads=2).eval()
    theirs = nn.MultiheadAttention(WIDTH, 2, batch_first=True).eval()
    theirs.in_proj_weight.copy_(
        torch.cat([block.attention.query.weight, block.attention.key_value.weight])
    )
    theirs.in_proj_bias.copy_(
        torch.cat([block.attention.query.bias, block.attention.key_value.bias])
    )
    theirs.out_proj.load_state_dict(block.attention.out.state_dict())
    x, memory = streams()["text"], streams()["audio"]
    queries, keys = block.norm_query(x.x), block.norm_memory(memory.x)
    heard, _ = theirs(queries, keys, keys, key_padding_mask=~memory.mask)
    expected = x.x + heard
    expected = expected + block.forward_part(block.norm_forward(expected))
    assert torch.allclose(block(x.x, memory.x, memory.mask), expected, atol=1e-5)


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_a_crossmodal_transformer_stands_for_every_ordered_pair(count: int) -> None:
    names = NAMES[:count]
    made = fusion("crossmodal", names, depth=3)
    pairs = {(s, t) for s, targets in made.crossmodal.items() for t in targets}
    assert pairs == {(s, t) for s in names for t in names if s != t}
    stacks = [stack for targets in made.crossmodal.values() for stack in targets.values()]
    assert [len(stack) for stack in stacks] == [3] * (count * (count - 1))
    blocks = [part for part in made.modules() if isinstance(part, CrossBlock)]
    assert len(blocks) == 3 * count * (count - 1)
    assert len({id(p) for block in blocks for p in block.parameters()}) == sum(
        len(list(block.parameters())) for block in blocks
    )


@torch.no_grad()
def test_crossmodal_puts_what_was_heard_side_by_side_and_encodes_it() -> None:
    made = fusion("crossmodal", depth=2)
    given = streams()
    parts = []
    for target in given:
        heard = []
        for source in given:
            if source != target:
                x = given[target].x
                for block in made.crossmodal[source][target]:
                    x = block(x, given[source].x, given[source].mask)
                heard.append(x)
        wide = made.towers[target](torch.cat(heard, dim=-1), given[target].mask)
        parts.append(made.project[target](wide))
    (branch,) = made(given).branches
    assert torch.allclose(branch.seq, normed(torch.cat(parts, dim=1)), atol=1e-4)
    assert torch.equal(branch.mask, torch.cat([s.mask for s in given.values()], dim=1))


@torch.no_grad()
def test_queries_of_one_modality_meet_keys_and_values_of_all() -> None:
    made = fusion("multimodal_self_attention", heads=1)
    given = streams()
    layer = made.layers[0]
    normal = {name: layer.norms[name](s.x) for name, s in given.items()}
    project: dict[str, Tensor] = {n: layer.attention[n].key_value(x) for n, x in normal.items()}
    keys, values = torch.cat(list(project.values()), dim=1).chunk(2, dim=-1)
    mask = torch.cat([s.mask for s in given.values()], dim=1)
    parts = []
    for name, s in given.items():
        query = layer.attention[name].query(normal[name])
        scores = query @ keys.transpose(1, 2) / WIDTH**0.5
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        theirs = F.scaled_dot_product_attention(query, keys, values, attn_mask=mask[:, None])
        assert torch.allclose(weights @ values, theirs, atol=1e-5)
        x = s.x + layer.attention[name].out(theirs)
        parts.append(x + layer.forward_parts[name](layer.norms_forward[name](x)))
    (branch,) = made(given).branches
    assert torch.allclose(branch.seq, normed(torch.cat(parts, dim=1)), atol=1e-4)


def test_multimodal_self_attention_shares_no_weight_between_modalities() -> None:
    made = fusion("multimodal_self_attention", depth=2)
    owned = [n for n, _ in made.named_parameters() if sum(f".{m}." in n for m in NAMES[:3]) == 1]
    assert owned == [n for n, _ in made.named_parameters()]


def test_who_hears_whom_after_one_layer() -> None:
    every = set(NAMES[:3])
    of_all = dict.fromkeys(every, every)
    assert token_gradients(fusion("cross_attention"), NAMES[:3]) == of_all
    assert token_gradients(fusion("multimodal_self_attention"), NAMES[:3]) == of_all
    assert token_gradients(fusion("crossmodal"), NAMES[:3]) == of_all
    own = {name: {name} for name in every}
    assert token_gradients(fusion("bottleneck", depth=1), NAMES[:3]) == own
    assert token_gradients(fusion("bottleneck", depth=2), NAMES[:3]) == of_all


@torch.no_grad()
def test_in_cross_attention_no_modality_attends_to_itself() -> None:
    made = fusion("cross_attention")
    given = streams()
    (block,) = (layer["text"] for layer in made.layers)
    memory = torch.cat([given[name].x for name in ("vision", "audio")], dim=1)
    mask = torch.cat([given[name].mask for name in ("vision", "audio")], dim=1)
    expected = normed(block(given["text"].x, memory, mask))
    (branch,) = made(given).branches
    assert torch.allclose(branch.seq[:, : expected.shape[1]], expected, atol=1e-5)


@torch.no_grad()
def test_the_bottleneck_is_the_mean_of_what_each_modality_makes_of_it() -> None:
    made = fusion("bottleneck", depth=2, tokens=3)
    given = streams()
    tokens = {name: s.x for name, s in given.items()}
    shared = made.shared[None].repeat(ITEMS, 1, 1)
    for layer in made.layers:
        said = []
        for name, s in given.items():
            mask = torch.cat([s.mask, torch.ones(ITEMS, 3, dtype=torch.bool)], dim=1)
            both = layer[name](torch.cat([tokens[name], shared], dim=1), mask)
            tokens[name], own = both[:, :-3], both[:, -3:]
            said.append(own)
        shared = (said[0] + said[1] + said[2]) / 3
    (branch,) = made(given).branches
    expected = normed(torch.cat([*tokens.values(), shared], dim=1))
    assert torch.allclose(branch.seq, expected, atol=1e-4)
    assert branch.mask[:, -3:].all()


def test_without_shared_tokens_nothing_would_pass() -> None:
    """All that reaches another modality is lost when the bottleneck is cut after each layer."""
    made = fusion("bottleneck", depth=2)
    given = streams()
    before = made(given).branches[0].seq[:, : given["text"].x.shape[1]]
    other = {**given, "vision": replace(given["vision"], x=-given["vision"].x)}
    after = made(other).branches[0].seq[:, : given["text"].x.shape[1]]
    assert not torch.allclose(before, after, atol=1e-6)
    for layer in made.layers:
        for block in layer.values():
            block.register_forward_hook(lambda _m, _i, out: cut(out))
    before = made(given).branches[0].seq[:, : given["text"].x.shape[1]]
    after = made(other).branches[0].seq[:, : given["text"].x.shape[1]]
    assert torch.equal(before, after)


def cut(out: Tensor) -> Tensor:
    return torch.cat([out[:, :-4], torch.zeros_like(out[:, -4:])], dim=1)


@pytest.mark.parametrize(
    "name", ["cross_attention", "crossmodal", "weighted_average", "multiplicative"]
)
def test_what_needs_two_modalities_says_so(name: str) -> None:
    assert fusion(name).at_least == 2
