"""Sum, weighted average, parallel, sequential: each against its formula."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from streams import ITEMS, NAMES, WIDTH, fusion, normed, peaks, streams
from torch import Tensor, nn

from mmbench.models.joint import of_tokens, peak


def without_mix(made: nn.Module) -> None:
    """Let the network at the end pass everything through."""
    nn.init.zeros_(made.mix.change[-1].weight)  # type: ignore[union-attr,index,arg-type]
    nn.init.zeros_(made.mix.change[-1].bias)  # type: ignore[union-attr,index,arg-type]


@torch.no_grad()
def test_a_peak_is_the_largest_real_value_of_each_feature() -> None:
    given = streams()
    for name, expected in peaks(given).items():
        assert torch.equal(peak(given[name].x, given[name].mask), expected)


@torch.no_grad()
def test_tokens_are_summed_up_before_they_are_normed() -> None:
    given = streams(["text"])
    (branch,) = of_tokens(given["text"].x, given["text"].mask, given).branches
    assert torch.allclose(branch.pooled, normed(peaks(given)["text"]), atol=1e-5)
    assert torch.allclose(branch.seq, normed(given["text"].x), atol=1e-5)


@torch.no_grad()
def test_sum_adds_projections() -> None:
    made = fusion("sum")
    without_mix(made)
    given = streams()
    total = sum(made.project[name](z) for name, z in peaks(given).items())
    assert isinstance(total, Tensor)
    assert torch.allclose(made(given).branches[0].pooled, normed(total), atol=1e-5)


@torch.no_grad()
def test_an_average_weighs_by_a_softmax_of_scores() -> None:
    given = streams()
    for weights in ("static", "dynamic"):
        made = fusion("weighted_average", weights=weights)
        without_mix(made)
        scores = {name: made.level[name].expand(ITEMS) for name in given}
        if weights == "dynamic":
            scores = {n: s + peaks(given)[n] @ made.score[n].weight[0] for n, s in scores.items()}
        total = torch.stack([s.exp() for s in scores.values()]).sum(dim=0)
        average = torch.stack(
            [
                (scores[n].exp() / total)[:, None] * made.project[n](z)
                for n, z in peaks(given).items()
            ]
        ).sum(dim=0)
        assert torch.allclose(made(given).branches[0].pooled, normed(average), atol=1e-4)


@torch.no_grad()
def test_static_weights_are_the_same_for_all_items_and_dynamic_ones_are_not() -> None:
    given = peaks(streams())
    present = {name: torch.ones(ITEMS, dtype=torch.bool) for name in given}
    for weights in ("static", "dynamic"):
        found = fusion("weighted_average", weights=weights).weigh(given, present)
        assert torch.allclose(found.sum(dim=1), torch.ones(ITEMS))
        assert (len(found.unique(dim=0)) == 1) is (weights == "static")


@torch.no_grad()
def test_what_is_absent_leaves_the_average() -> None:
    given = peaks(streams())
    present = {name: torch.ones(ITEMS, dtype=torch.bool) for name in given}
    present["vision"] = torch.tensor([True, False, True, False, True])
    present["text"] = present["audio"] = torch.tensor([True, True, True, False, True])
    found = fusion("weighted_average").weigh(given, present)
    assert found[1, 1] == 0.0
    assert (found[[0, 2, 3, 4]] > 0.0).all()  # of item 3 nothing is there
    assert torch.allclose(found.sum(dim=1), torch.ones(ITEMS))


@torch.no_grad()
def test_parallel_is_the_first_step_of_a_gru_that_reads_all_at_once() -> None:
    made = fusion("parallel")
    without_mix(made)
    gru = nn.GRUCell(3 * WIDTH, WIDTH)
    nn.init.zeros_(gru.weight_hh)
    nn.init.zeros_(gru.bias_hh)
    gru.weight_ih[WIDTH:] = torch.cat([-made.update.weight, made.candidate.weight])
    gru.bias_ih[WIDTH:] = torch.cat([-made.update.bias, made.candidate.bias])
    given = streams()
    side = made.norm(torch.cat(list(peaks(given).values()), dim=1))
    assert torch.allclose(made(given).branches[0].pooled, normed(gru(side)), atol=1e-4)


def gru_states(gru: nn.GRU, steps: Tensor) -> Tensor:
    """Run the equations of a GRU over steps [K, D] by hand."""
    state = torch.zeros(WIDTH)
    states = []
    for x in steps:
        inner = (gru.weight_ih_l0 @ x + gru.bias_ih_l0).chunk(3)
        outer = (gru.weight_hh_l0 @ state + gru.bias_hh_l0).chunk(3)
        reset, update = (torch.sigmoid(a + b) for a, b in zip(inner[:2], outer[:2], strict=True))
        candidate = torch.tanh(inner[2] + reset * outer[2])
        state = (1 - update) * candidate + update * state
        states.append(state)
    return torch.stack(states)


@pytest.mark.parametrize("order", [(), ("audio", "text", "vision")])
@torch.no_grad()
def test_sequential_reads_one_modality_after_the_other(order: tuple[str, ...]) -> None:
    made = fusion("sequential", order=order)
    given = streams()
    (branch,) = made(given).branches
    for item in range(ITEMS):
        steps = [made.norms[m](peaks(given)[m][item]) for m in order or NAMES[:3]]
        expected = gru_states(made.gru, torch.stack(steps))
        assert torch.allclose(branch.seq[item], expected, atol=1e-5)
        assert torch.allclose(branch.pooled[item], expected[-1], atol=1e-5)


@torch.no_grad()
def test_sequential_in_time_reads_all_real_tokens_as_they_come() -> None:
    made = fusion("sequential", axis="time", order=("vision", "audio", "text"))
    given = streams()
    (branch,) = made(given).branches
    for item in range(ITEMS):
        tokens = []
        for place, name in enumerate(("vision", "audio", "text")):
            s = given[name]
            for k in range(int(s.mask[item].sum())):
                x = made.norms[name](s.x[item, k])
                tokens.append((float(s.time[item, k]), place, k, x))
        tokens.sort(key=lambda token: token[:3])
        expected = gru_states(made.gru, torch.stack([token[3] for token in tokens]))
        assert torch.equal(branch.mask[item], torch.arange(branch.mask.shape[1]) < len(tokens))
        assert torch.allclose(branch.seq[item, : len(tokens)], expected, atol=1e-5)
        assert torch.allclose(branch.pooled[item], expected[-1], atol=1e-5)


@torch.no_grad()
def test_the_order_of_a_sequence_matters() -> None:
    given = streams()
    orders = [("text", "vision", "audio"), ("audio", "vision", "text")]
    one, other = (fusion("sequential", order=order)(given).branches[0].pooled for order in orders)
    assert not torch.allclose(one, other, atol=1e-3)
    swapped = {n: replace(s, time=1.0 - s.time) for n, s in given.items()}
    made = fusion("sequential", axis="time")
    before, after = (made(x).branches[0].pooled for x in (given, swapped))
    assert not torch.allclose(before, after, atol=1e-3)


def test_an_order_has_to_name_every_modality_once() -> None:
    for order in (("text",), ("text", "vision", "vision"), ("text", "vision", "sound")):
        with pytest.raises(ValueError, match="each of text, vision, audio once"):
            fusion("sequential", order=order)
