"""Modalities that are graphs and sets: their tokens, their edges, and what no message can carry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from mmbench import catalog, registry
from mmbench.models.build import build
from mmbench.models.contract import Encoder
from mmbench.models.encoders.graph import Graph
from mmbench.models.graphs import as_nodes, edges_of, relations
from mmbench.models.model import Model
from mmbench.models.objectives.supervised import Supervised
from mmbench.types import Batch, Modality, Output, Signature, Stream

WIDTH, NUMBERS = 8, 4
#: Strategies that send messages along edges.
GRAPHS = ("graph_plain", "graph_neighbour_sum", "gcn", "gat", "gatv2", "rgcn")
WORDS = tuple(f"w{at}" for at in range(12))
Arrow = tuple[int, int, int]  # from, to, relation


def graph(names: Sequence[int], arrows: Sequence[Arrow], kinds: int = 2, room: int = 6) -> Tensor:
    """Return one graph [1 + R, N, W]: names, equal numbers for all, arrows between their rows."""
    found = torch.zeros(1 + kinds, room, room + NUMBERS)
    found[0, : len(names), 0] = torch.tensor(names).float()
    found[0, : len(names), 1:] = 1.0
    for tail, head, relation in arrows:
        found[1 + relation, tail, head] = 1.0
    return found


def model_of(fusion: str, modalities: Mapping[str, Modality], **params: Any) -> Model:
    """Return a model with random weights and no dropout, whose fusion is the one that is named."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        kinds = {"graph": "graph", "set": "set", "text": "transformer", "sequence": "mlp"}
        encoders = {
            name: registry.load("encoder", kinds[m.kind])(m, WIDTH)
            for name, m in modalities.items()
        }
        made = registry.load("fusion", fusion)
        if fusion in GRAPHS:
            params["inputs"] = modalities
        whole = made(list(modalities), WIDTH, **params)
        signature = Signature(modalities, {"y": Output("label", 2, ("a", "b"))})
        head = registry.load("head", "label")(output=signature.outputs["y"], width=WIDTH)
        combiner = registry.load("combiner", "log_linear")(list(whole.branches), WIDTH)
        found = Model(signature, encoders, whole, {"y": [head]}, {"y": combiner}, WIDTH)
        for parameter in found.parameters():
            nn.init.normal_(parameter, std=0.4)
    return found.eval()


def batch(present: Mapping[str, Tensor] | None = None, **inputs: Tensor) -> Batch:
    size = len(next(iter(inputs.values())))
    every = torch.ones(size, dtype=torch.bool)
    return Batch(size, inputs, {}, {n: (present or {}).get(n, every) for n in inputs})


@torch.no_grad()
def nodes_of(model: Model, items: Batch) -> tuple[Tensor, Tensor]:
    """Return the tokens [B, T, D] of the joint branch and its summary [B, D]."""
    branch = model.fusion(model.streams(items)).branches[0]
    return branch.seq, branch.pooled


# --- the encoder ----------------------------------------------------------------------------------


def test_a_graph_has_a_token_for_each_node_and_one_for_all_that_leaves_it() -> None:
    encoder = model_of("early_tokens", {"g": Modality("graph", (3, 6, 10))}).encoders["g"]
    assert isinstance(encoder, Graph)
    x = torch.stack([graph([5, 3, 9], [(0, 1, 0), (0, 2, 1)]), graph([1, 2], [(1, 0, 1)])])
    tokens, mask = encoder(x, None)
    assert tokens.shape == (2, 12, WIDTH)
    assert mask[0].nonzero().flatten().tolist() == [0, 1, 2, 6]
    assert mask[1].nonzero().flatten().tolist() == [0, 1, 7]
    # Nodes know nothing of their edges; the token of a tail knows the relation and the head.
    turned = torch.stack([graph([5, 3, 9], [(0, 1, 1), (0, 2, 1)]), graph([1, 2], [])])
    again, _ = encoder(turned, None)
    assert torch.equal(again[:, :6], tokens[:, :6])
    assert not torch.allclose(again[0, 6], tokens[0, 6], atol=1e-3)
    links = encoder.links(x, mask)
    assert links.edges.nonzero().tolist() == [[0, 0, 1, 0], [0, 1, 2, 0], [1, 1, 0, 1]]
    assert links.names is not None
    assert links.names.tolist() == [[5, 3, 9, 0, 0, 0], [1, 2, 0, 0, 0, 0]]


@torch.no_grad()
def test_nodes_in_another_order_have_the_same_tokens_and_what_is_no_node_has_no_say() -> None:
    encoder = model_of("early_tokens", {"g": Modality("graph", (3, 6, 10))}).encoders["g"]
    x = graph([5, 3, 9, 4], [(0, 1, 0), (2, 3, 1), (3, 0, 1)])[None]
    x[0, 0, :, 1:] = torch.randn(6, 9, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([2, 0, 4, 3, 5, 1])
    moved = x[:, :, order].clone()
    moved[:, 1:, :, :6] = moved[:, 1:, :, :6][..., order]
    tokens, mask = encoder(x, None)
    found, same = encoder(moved, None)
    both = torch.cat([order, 6 + order])
    assert torch.equal(same, mask[:, both])
    assert torch.allclose(found[same], tokens[:, both][same], atol=1e-5)
    rubbish = x.clone()
    rubbish[:, 0, 4:, 1:] = torch.nan
    rubbish[:, 1:, 4:], rubbish[:, 1:, :, 4:] = 1.0, 1.0
    again, mask_again = encoder(rubbish, None)
    assert torch.equal(mask_again, mask)
    assert torch.allclose(again[mask], tokens[mask], atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 4, 6), (2, 4, 3), (2, 4)], ids=str)
def test_a_shape_that_is_no_graph_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \[1 \+ R, N, W\]"):
        Graph(Modality("graph", shape), WIDTH)


# --- what kinds of modality mean for a graph over all tokens --------------------------------------


def stream(model: Model, name: str, items: Batch) -> Stream:
    return as_nodes(model.streams(items))[name]


def test_edges_of_two_graphs_are_those_of_their_union() -> None:
    kinds = {"a": Modality("graph", (3, 6, 10)), "b": Modality("graph", (2, 6, 10)),
             "q": Modality("text", (4,), WORDS)}  # fmt: skip
    model = model_of("rgcn", kinds)
    items = batch(
        a=graph([7, 5, 4], [(0, 1, 1)])[None],  # 7 -> 5
        b=graph([4, 7, 5], [(2, 0, 0)], kinds=1)[None],  # 5 -> 4
        q=torch.tensor([[1, 7, 4, 0]]),
    )
    items = replace(items, lengths={"q": torch.tensor([3])})
    made = as_nodes(model.streams(items))
    assert relations(list(kinds), kinds) == (
        "next", "previous", "cross", "same", "relation 1", "relation 2",
    )  # fmt: skip
    edges = edges_of(list(made.values()), own=2)[0]
    following, preceding, cross, same, first, second = (
        {(hearer, speaker) for hearer, speaker in kind.nonzero().tolist()} for kind in edges
    )
    who = [7, 5, 4, 0, 0, 0, 4, 7, 5, 0, 0, 0, 1, 7, 4, 0]
    assert following == {(13, 12), (14, 13)} == {(a, b) for b, a in preceding}
    nodes, words = {0, 1, 2, 6, 7, 8}, {12, 13, 14}
    assert cross == {(n, w) for n in nodes for w in words} | {(w, n) for n in nodes for w in words}
    everybody = nodes | words

    def all_of(hearer: int, speaker: int) -> set[tuple[int, int]]:
        pairs = [(i, j) for i in everybody for j in everybody if i != j or hearer != speaker]
        return {(i, j) for i, j in pairs if who[i] == hearer and who[j] == speaker}

    assert same == all_of(7, 7) | all_of(5, 5) | all_of(4, 4)
    assert first == all_of(4, 5), "told by b, holds for 4 and 5 wherever they are"
    assert second == all_of(5, 7)


def test_elements_of_a_set_do_not_follow_one_another() -> None:
    x = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(0))
    for kind, pairs in (("set", 0), ("sequence", 3)):
        modality = Modality(kind, (4, 3))
        encoder = registry.load("encoder", "set")(modality, WIDTH)
        tokens, mask = encoder(x, None)
        own = Stream(tokens, mask, mask.float(), mask[:, 0], links=encoder.links(x, mask))
        assert int(edges_of([own])[0, 0].sum()) == pairs
    model = model_of("gcn", {"s": Modality("set", (4, 3)), "t": Modality("sequence", (2, 3))})
    t = torch.randn(1, 2, 3, generator=torch.Generator().manual_seed(1))
    _, once = nodes_of(model, batch(s=x, t=t))
    _, again = nodes_of(model, batch(s=x[:, [2, 0, 3, 1]], t=t))
    assert torch.allclose(once, again, atol=1e-5)
    _, turned = nodes_of(model, batch(s=x, t=t.flip(1)))
    assert not torch.allclose(once, turned, atol=1e-4), "those of a sequence do"


@pytest.mark.parametrize("fusion", GRAPHS)
def test_an_absent_graph_is_its_null_token_whatever_it_holds(fusion: str) -> None:
    kinds = {"a": Modality("graph", (3, 6, 10)), "b": Modality("graph", (3, 6, 10))}
    model = model_of(fusion, kinds)
    here = graph([7, 5], [(0, 1, 0)])[None]
    gone = {"b": torch.tensor([False])}
    held = [graph([7, 5], [(1, 0, 1)])[None], torch.full((1, 3, 6, 10), torch.nan)]
    found = [nodes_of(model, batch(gone, a=here, b=b))[1] for b in held]
    assert torch.isfinite(found[0]).all()
    assert torch.equal(*found)
    assert not torch.allclose(nodes_of(model, batch(a=here, b=held[0]))[1], found[0], atol=1e-4)


@pytest.mark.parametrize("fusion", GRAPHS)
def test_every_parameter_of_a_graph_fusion_is_reached(fusion: str) -> None:
    kinds = {"a": Modality("graph", (3, 6, 10)), "b": Modality("graph", (3, 6, 10)),
             "q": Modality("text", (4,), WORDS)}  # fmt: skip
    model = model_of(fusion, kinds)
    items = batch(
        a=graph([7, 5, 4], [(0, 1, 1)])[None], b=graph([4, 7, 5], [(2, 0, 0)])[None],
        q=torch.tensor([[1, 7, 4, 2]]),
    )  # fmt: skip
    branch = model.fusion(model.streams(items)).branches[0]
    names = dict(model.fusion.named_parameters())
    total = (branch.seq**2).sum() + branch.pooled.sum()
    grads = torch.autograd.grad(total, list(names.values()), allow_unused=True)
    assert not [n for n, g in zip(names, grads, strict=True) if g is None or not g.any()]


@pytest.mark.parametrize("name", ["early", "late", "mvae", "gcn"])
def test_a_kind_of_modality_that_is_new_needs_an_encoder_and_a_line(name: str) -> None:
    class Odour(Encoder):
        """One token of what was smelt."""

        kinds = ("odour",)

        def __init__(self, modality: Modality, width: int) -> None:
            super().__init__()
            self.project = nn.Linear(modality.shape[0], width)

        def forward(self, x: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
            return self.project(x.float())[:, None], torch.ones(len(x), 1, dtype=torch.bool)

    kinds = {"nose": Modality("odour", (5,)), "steps": Modality("sequence", (4, 3))}
    signature = Signature(kinds, {"y": Output("label", 2, ("a", "b"))})
    with registry.lent("encoder", "odour_linear", Odour):
        spec = catalog.model(name, ("encoders.odour.name=odour_linear",))
        model = build(msgspec.structs.replace(spec, width=16), signature)
    items = batch(nose=torch.randn(3, 5), steps=torch.randn(3, 4, 3))
    items.targets = {"y": torch.tensor([0, 1, 1])}
    weight = dict(model.named_parameters())["encoders.nose.project.weight"]
    (gradient,) = torch.autograd.grad(Supervised().loss(model, items), [weight])
    assert gradient.any()


# --- what messages can carry ----------------------------------------------------------------------


def ring(places: Sequence[int]) -> list[Arrow]:
    pairs = list(zip(places, [*places[1:], places[0]], strict=True))
    return [(a, b, 0) for a, b in pairs] + [(b, a, 0) for a, b in pairs]


@pytest.mark.parametrize(
    "fusion",
    [
        *GRAPHS,
        "early_tokens",
        "multimodal_self_attention",
        "bottleneck",
        "hybrid",
        "late",
        "concat",
    ],
)
def test_two_triangles_are_a_hexagon_to_whatever_sends_messages(fusion: str) -> None:
    """Colour refinement (1-WL) gives both the same colours, and no message says more (Xu et al.

    2019, arXiv:1810.00826). A strategy that tells them apart sees who is who by other means, and
    what it scores on such questions is a leak. Tokens that tell edges by equal numbers cannot
    either.
    """
    model = model_of(fusion, {"g": Modality("graph", (3, 6, 10))}, depth=3)
    names = [1, 2, 3, 4, 5, 6]
    triangles = graph(names, ring([0, 1, 2]) + ring([3, 4, 5]))
    hexagon = graph(names, ring([0, 1, 2, 3, 4, 5]))
    path = graph(names, ring([0, 1, 2, 3, 4, 5])[1:6] + ring([0, 1, 2, 3, 4, 5])[7:])
    nodes, pooled = nodes_of(model, batch(g=torch.stack([triangles, hexagon, path])))
    assert torch.allclose(nodes[0], nodes[1], atol=1e-5)
    assert torch.allclose(pooled[0], pooled[1], atol=1e-5)
    # Means over equal neighbours do not count them; those that do tell the ends of a path.
    if fusion in ("gcn", "graph_neighbour_sum", "early_tokens"):
        assert not torch.allclose(pooled[2], pooled[1], atol=1e-4), "colours differ, and are seen"


@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("fusion", GRAPHS)
def test_messages_go_one_hop_a_layer_along_the_union_of_both_graphs(
    fusion: str, layers: int
) -> None:
    kinds = {"a": Modality("graph", (3, 6, 10)), "b": Modality("graph", (3, 6, 10))}
    model = model_of(fusion, kinds, depth=layers)
    names = [11, 7, 9, 4, 8]
    chain = [(at, at + 1, at % 2) for at in range(4)]
    halves = [graph(names, chain[0::2]), graph(names, chain[1::2])]
    plain, other = (batch(a=halves[0].clone()[None], b=halves[1][None]) for _ in range(2))
    other.inputs["a"][0, 0, 0, 1:] = 3.0  # the first thing, as one of the graphs has it
    before, after = (nodes_of(model, items)[0][0] for items in (plain, other))
    apart = (before - after).abs().amax(dim=-1) > 1e-5
    for start in (0, 6):  # in either graph
        assert apart[start : start + 5].tolist() == [hops <= layers for hops in range(5)]


@pytest.mark.parametrize("fusion", [*GRAPHS, "early_tokens"])
def test_kinds_of_edge_are_told_apart_by_weights_of_their_own_or_by_tokens(fusion: str) -> None:
    model = model_of(fusion, {"g": Modality("graph", (3, 6, 10))})
    one, other = ([(0, 1, relation), (1, 2, 0)] for relation in (0, 1))
    _, pooled = nodes_of(model, batch(g=torch.stack([graph([4, 5, 6], a) for a in (one, other)])))
    apart = float((pooled[0] - pooled[1]).abs().max())
    assert (apart > 1e-3) if fusion in ("rgcn", "early_tokens") else (apart < 1e-6)


def test_links_say_which_kinds_there_are() -> None:
    kinds = {"g": Modality("graph", (4, 6, 10)), "s": Modality("set", (4, 3))}
    assert (kinds["g"].relations, kinds["s"].relations) == (3, 0)
    assert relations(["s"], kinds) == ("next", "previous")
    found = replace(kinds["g"], kind="sequence")
    assert found.relations == 0
