"""The graph layers against their formulas, against torch_geometric, and what order must not do."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mmbench import registry
from mmbench.models.graphs import edges_of, near_in_time, normalised, relations
from mmbench.types import Stream

WIDTH, ITEMS, NODES = 8, 3, 7
NAMES = ("graph_plain", "graph_neighbour_sum", "gcn", "gat", "gatv2", "rgcn")


def fusion_of(name: str, modalities: tuple[str, ...] = ("a", "b"), **params: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = registry.load("fusion", name)(modalities, WIDTH, **params)
        # Nothing at its neutral value: a bias of 0 would hide that it is not there.
        for parameter in made.parameters():
            nn.init.normal_(parameter, std=0.5)
    return made


def layer_of(name: str, **params: Any) -> Any:
    return fusion_of(name, **params).stack.layers[0]


def drawn(seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return nodes [B, N, D] and random directed edges [B, 3, N, N], none from a node to itself."""
    generator = torch.Generator().manual_seed(seed)
    nodes = torch.randn(ITEMS, NODES, WIDTH, generator=generator)
    kind = torch.randint(0, 6, (ITEMS, NODES, NODES), generator=generator)
    edges = torch.stack([kind == k for k in range(3)], dim=1)
    return nodes, edges & ~torch.eye(NODES, dtype=torch.bool)


def geometric() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it says of other packages is not ours to judge
        import torch_geometric.nn

    return torch_geometric.nn


def as_list(edges: Tensor) -> tuple[Tensor, Tensor]:
    """Return edges [R, N, N] as torch_geometric's [2, E] (speaker, hearer), and their kinds [E]."""
    kind, hearer, speaker = edges.nonzero(as_tuple=True)
    return torch.stack([speaker, hearer]), kind


# --- formulas -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", ["none", "row", "sym"])
@pytest.mark.parametrize("loops", [False, True])
@torch.no_grad()
def test_the_plain_layer_is_its_formula(norm: str, loops: bool) -> None:
    layer = layer_of("graph_plain", norm=norm, self_loops=loops)
    nodes, edges = drawn()
    A = edges.any(dim=1).double() + torch.eye(NODES, dtype=torch.float64) * loops
    degree = A.sum(dim=2).clamp(min=1)
    if norm == "row":
        A = A / degree[..., None]
    if norm == "sym":
        half = torch.diag_embed(degree**-0.5)
        A = half @ A @ half
    W = layer.weight.weight.double().T
    expected = torch.relu(A @ nodes.double() @ W)
    assert torch.allclose(layer(nodes, edges).double(), expected, atol=1e-5)


@pytest.mark.parametrize("loops", [False, True])
@torch.no_grad()
def test_the_neighbour_sum_is_its_formula(loops: bool) -> None:
    layer = layer_of("graph_neighbour_sum", self_loops=loops)
    nodes, edges = drawn()
    found = layer(nodes, edges)
    for item in range(ITEMS):
        for i in range(NODES):
            total = layer.bias.clone()
            for j in range(NODES):
                if edges[item, :, i, j].any() or (loops and i == j):
                    total += layer.weight.weight @ nodes[item, j]
            assert torch.allclose(found[item, i], total.relu(), atol=1e-5)


@torch.no_grad()
def test_attention_is_its_formula_and_asks_before_it_listens() -> None:
    layer = layer_of("gatv2", heads=2)
    nodes, edges = drawn()
    found = layer.weights(nodes, edges)
    heads, size = layer.attention.shape
    for i in range(NODES):
        hears = [j for j in range(NODES) if j == i or edges[0, :, i, j].any()]
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            scores = []
            for j in hears:
                pair = layer.hearer(nodes[0, i])[part] + layer.speaker(nodes[0, j])[part]
                scores.append(layer.attention[head] @ torch.where(pair > 0, pair, 0.2 * pair))
            expected = torch.zeros(NODES)
            expected[hears] = torch.stack(scores).softmax(dim=0)
            assert torch.allclose(found[0, i, :, head], expected, atol=1e-5)
    # Dynamic: among nodes that all hear each other, who asks decides what is heard most.
    everyone = torch.ones(1, 1, NODES, NODES, dtype=torch.bool)
    favourites = layer.weights(nodes[:1] * 3.0, everyone)[0].argmax(dim=1)  # [N, H]
    assert len(favourites.unique(dim=0)) > 1


# --- parity with torch_geometric ----------------------------------------------------------------


@pytest.mark.parametrize("item", range(ITEMS))
@torch.no_grad()
def test_gcn_equals_gcnconv(item: int) -> None:
    layer = layer_of("gcn")
    theirs = geometric().GCNConv(WIDTH, WIDTH)
    theirs.lin.weight.copy_(layer.weight.weight)
    theirs.bias.copy_(layer.bias)
    nodes, edges = drawn()
    joined = edges.any(dim=1, keepdim=True)
    expected = theirs(nodes[item], as_list(joined[item])[0])
    assert torch.allclose(layer.convolve(nodes, edges)[item], expected, atol=1e-5)


@pytest.mark.parametrize("item", range(ITEMS))
@torch.no_grad()
def test_gat_equals_gatconv(item: int) -> None:
    layer = layer_of("gat", heads=2)
    theirs = geometric().GATConv(WIDTH, WIDTH // 2, heads=2)
    theirs.lin.weight.copy_(layer.weight.weight)
    theirs.att_dst.copy_(layer.hearer[None])
    theirs.att_src.copy_(layer.speaker[None])
    theirs.bias.copy_(layer.bias)
    nodes, edges = drawn()
    joined = edges.any(dim=1, keepdim=True)
    expected = theirs(nodes[item], as_list(joined[item])[0])
    assert torch.allclose(layer.attend(nodes, edges)[item], expected, atol=1e-5)


@torch.no_grad()
def test_static_attention_prefers_one_neighbour_whoever_asks() -> None:
    layer = layer_of("gat", heads=2)
    nodes, _ = drawn()
    everyone = torch.ones(1, 1, NODES, NODES, dtype=torch.bool)
    values = layer.weight(nodes[:1] * 3.0).unflatten(2, layer.hearer.shape)
    favourites = layer.weights(values, everyone)[0].argmax(dim=1)  # [N, H]
    assert len(favourites.unique(dim=0)) == 1


@pytest.mark.parametrize("item", range(ITEMS))
@torch.no_grad()
def test_gatv2_equals_gatv2conv(item: int) -> None:
    layer = layer_of("gatv2", heads=2)
    theirs = geometric().GATv2Conv(WIDTH, WIDTH // 2, heads=2)
    theirs.lin_l.load_state_dict(layer.speaker.state_dict())  # theirs are named the other way
    theirs.lin_r.load_state_dict(layer.hearer.state_dict())
    theirs.att.copy_(layer.attention[None])
    theirs.bias.copy_(layer.bias)
    nodes, edges = drawn()
    joined = edges.any(dim=1, keepdim=True)
    expected = theirs(nodes[item], as_list(joined[item])[0])
    assert torch.allclose(layer.attend(nodes, edges)[item], expected, atol=1e-5)


@pytest.mark.parametrize("item", range(ITEMS))
@torch.no_grad()
def test_rgcn_equals_rgcnconv(item: int) -> None:
    layer = layer_of("rgcn")
    theirs = geometric().RGCNConv(WIDTH, WIDTH, num_relations=3, aggr="mean")
    theirs.weight.copy_(layer.weight)
    theirs.root.copy_(layer.own.weight.T)
    theirs.bias.copy_(layer.own.bias)
    nodes, edges = drawn()
    expected = theirs(nodes[item], *as_list(edges[item]))
    assert torch.allclose(layer.convolve(nodes, edges)[item], expected, atol=1e-5)


@pytest.mark.parametrize("item", range(ITEMS))
@torch.no_grad()
def test_the_plain_and_the_neighbour_sum_equal_a_sum_convolution(item: int) -> None:
    SimpleConv = geometric().SimpleConv
    nodes, edges = drawn()
    joined, _ = as_list(edges.any(dim=1, keepdim=True)[item])
    summed = layer_of("graph_neighbour_sum")
    heard = SimpleConv(aggr="sum")(summed.weight(nodes[item]), joined)
    expected = (heard + summed.bias).relu()
    assert torch.allclose(summed(nodes, edges)[item], expected, atol=1e-5)
    plain = layer_of("graph_plain", norm="none", self_loops=False)
    expected = SimpleConv(aggr="sum")(plain.weight(nodes[item]), joined).relu()
    assert torch.allclose(plain(nodes, edges)[item], expected, atol=1e-5)


# --- order --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_nodes_in_another_order_say_the_same_in_that_order(name: str) -> None:
    layer = layer_of(name)
    nodes, edges = drawn()
    order = torch.randperm(NODES, generator=torch.Generator().manual_seed(1))
    found = layer(nodes[:, order], edges[:, :, order][:, :, :, order])
    assert torch.allclose(found, layer(nodes, edges)[:, order], atol=1e-5)
    assert not torch.allclose(found, layer(nodes, edges), atol=1e-2)


@pytest.mark.parametrize("nearest", [0, 2])
@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_modalities_may_be_named_in_another_order(name: str, nearest: int) -> None:
    one = fusion_of(name, ("a", "b", "c"), nearest=nearest)
    other = fusion_of(name, ("c", "a", "b"), nearest=nearest)
    other.load_state_dict(one.state_dict())
    found = other(streams("abc")).branches[0]
    assert torch.allclose(one(streams("abc")).branches[0].pooled, found.pooled, atol=1e-5)


def streams(names: str, seed: int = 3) -> dict[str, Stream]:
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for at, name in enumerate(names):
        tokens = 3 + at
        lengths = torch.tensor([tokens, 2, 1])
        order = torch.arange(tokens)
        made[name] = Stream(
            x=torch.randn(3, tokens, WIDTH, generator=generator),
            mask=order < lengths[:, None],
            time=(order / (lengths[:, None] - 1).clamp(min=1)).clamp(max=1.0),
            present=torch.tensor([True, True, at != 0]),
        )
    return made


# --- edges --------------------------------------------------------------------------------------


def test_edges_join_neighbours_in_time_and_modalities() -> None:
    made = streams("ab")  # 3 + 4 tokens
    edges = edges_of(list(made.values()))
    assert relations("ab") == ("next", "previous", "cross")
    following, preceding, cross = edges[0].unbind()
    assert following.nonzero().tolist() == [[1, 0], [2, 1], [4, 3], [5, 4], [6, 5]]
    assert torch.equal(preceding, following.T)
    assert cross[:3, 3:].all()
    assert cross[3:, :3].all()
    assert cross.sum() == 2 * 3 * 4
    assert not edges.diagonal(dim1=2, dim2=3).any()
    # Item 1 has two tokens of each modality, and what is masked has no edge.
    real = torch.cat([s.mask for s in made.values()], dim=1)
    assert not edges.any(dim=1)[~real].any()
    assert not edges.any(dim=1).transpose(1, 2)[~real].any()
    assert edges[1, 2].sum() == 2 * 2 * 2
    alone = edges_of([made["a"]])
    assert alone.shape[1] == len(relations("a")) == 2


def test_neighbours_across_modalities_may_be_those_nearest_in_time() -> None:
    made = streams("ab")
    near = near_in_time(list(made.values()), 1)
    times = [torch.tensor([0.0, 0.5, 1.0]), torch.tensor([0.0, 1 / 3, 2 / 3, 1.0])]
    expected = torch.zeros(3, 4, dtype=torch.bool)
    for i, a in enumerate(times[0]):
        for j, b in enumerate(times[1]):
            apart = (a - b).abs()
            nearest = apart <= (a - times[1]).abs().min() + 1e-6
            expected[i, j] = nearest or apart <= (b - times[0]).abs().min() + 1e-6
    assert torch.equal(near[0, :3, 3:], expected)
    assert not expected.all()
    assert torch.equal(near, near.transpose(1, 2))
    # Padding is nearest to nobody: the two real tokens of each modality find each other.
    cross = edges_of(list(made.values()), nearest=1)[1, 2]
    assert cross.nonzero().tolist() == [[0, 3], [1, 4], [3, 0], [4, 1]]
    assert torch.equal(edges_of(list(made.values()), 9), edges_of(list(made.values())))


def test_a_node_that_hears_nobody_keeps_a_row_of_zeros() -> None:
    adjacency = torch.tensor([[[False, True], [False, False]]])
    for norm in ("none", "row", "sym"):
        found = normalised(adjacency, norm)  # type: ignore[arg-type]
        assert torch.isfinite(found).all()
        assert not found[0, 1].any()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_one_modality_and_five_are_fused_too(name: str) -> None:
    for names in ("a", "abcde"):
        found = fusion_of(name, tuple(names))(streams(names)).branches[0]
        assert torch.isfinite(found.pooled).all()
        assert found.seq.shape == (3, sum(3 + at for at in range(len(names))), WIDTH)
        assert found.present.tolist() == [True, True, len(names) > 1]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_without_residual_a_layer_replaces_the_nodes(name: str) -> None:
    fusion = fusion_of(name, depth=1, residual=False)
    loud = streams("ab")
    before = fusion(loud).branches[0]
    fusion.stack.residual = True
    assert not torch.allclose(fusion(loud).branches[0].pooled, before.pooled, atol=1e-3)
    # What is at a padded place is heard by nobody, NaN included.
    rubbish = {
        n: replace(s, x=torch.where(s.mask[..., None], s.x, torch.nan)) for n, s in loud.items()
    }
    fusion.stack.residual = False
    assert torch.allclose(fusion(rubbish).branches[0].pooled, before.pooled, atol=1e-6)


def test_arguments_that_cannot_be_meant_are_refused() -> None:
    with pytest.raises(ValueError, match="not divisible by 3 heads"):
        registry.load("fusion", "gatv2")(("a", "b"), WIDTH, heads=3)
    with pytest.raises(ValueError, match="nearest = -1"):
        registry.load("fusion", "gcn")(("a", "b"), WIDTH, nearest=-1)
