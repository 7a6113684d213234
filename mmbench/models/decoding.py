"""Batched beam search over any step function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from mmbench.models.contract import Combined

S = TypeVar("S")


@dataclass
class Found:
    """The best hypothesis of each item.

    Attributes:
        words: Token ids, the end mark included where it was reached.
        weights: For each of those tokens the combiner's weights, one per branch.
        scores: Length-normalised log-probabilities (nats).
    """

    words: list[list[int]]
    weights: list[list[list[float]]]
    scores: list[float]


@torch.no_grad()
def beam_search(
    state: S,
    step: Callable[[S, Tensor, int], tuple[Combined, S]],
    reorder: Callable[[S, Tensor], S],
    *,
    items: int,
    beams: int,
    limit: int,
    bos: int,
    eos: int,
    forbidden: Sequence[int],
    length_penalty: float,
    device: torch.device,
) -> Found:
    """Keep the `beams` likeliest prefixes of each item, all items in one batch.

    A finished hypothesis stays in the beam at its normalised score and competes with prefixes by
    theirs; the search ends when every item's beam is finished, or after `limit` tokens. With one
    beam this is greedy decoding. Ties go to the lower token id.

    Args:
        state: The decoder's state for ``items * beams`` hypotheses, an item's side by side.
        step: (state, last words [items * beams], position) -> scores of the next word, new state.
        reorder: Keeps the hypotheses at the given rows of the state.
        items: Items in the batch.
        beams: Hypotheses per item; 1 is greedy.
        limit: Most tokens, the end mark included.
        bos: Token that starts a text.
        eos: Token that ends one.
        forbidden: Tokens that are never chosen.
        length_penalty: Scores are divided by ``length ** length_penalty``.
        device: Where the state lives.
    """
    rows = torch.arange(items, device=device)[:, None] * beams  # [B, 1]
    words = torch.full((items * beams,), bos, dtype=torch.long, device=device)
    # At the start all hypotheses of an item are equal: only the first may branch.
    total = torch.full((items, beams), float("-inf"), device=device)
    total[:, 0] = 0.0
    length = torch.zeros(items, beams, device=device)
    done = torch.zeros(items, beams, dtype=torch.bool, device=device)
    said = torch.zeros(items * beams, 0, dtype=torch.long, device=device)
    heard: list[Tensor] = []  # weights [B k, K] of each position
    for at in range(limit):
        out, state = step(state, words, at)
        scores = out.answer.view(items, beams, -1).clone()
        scores[..., list(forbidden)] = float("-inf")
        size = scores.shape[-1]
        # A finished hypothesis has one continuation: the end mark again, at no cost.
        frozen = torch.full((size,), float("-inf"), device=device)
        frozen[eos] = 0.0
        scores = torch.where(done[..., None], frozen, scores)
        grown = length + (~done).float()
        candidates = total[..., None] + scores
        ranked = (candidates / grown[..., None] ** length_penalty).flatten(1)
        values, chosen = _highest(ranked, beams)  # [B, k]
        parent, word = chosen // size, chosen % size
        total = candidates.flatten(1).gather(1, chosen)
        # With fewer candidates than beams the last are repetitions: they must not compete.
        total = total.masked_fill(values == float("-inf"), float("-inf"))
        length = grown.gather(1, parent)
        source = (rows + parent).flatten()
        done = done.gather(1, parent) | (word == eos)
        words = word.flatten()
        said = torch.cat([said[source], words[:, None]], dim=1)
        heard = [weights[source] for weights in heard] + [out.weights[source]]
        if bool(done.all()):
            break
        if beams > 1:
            state = reorder(state, source)
    best = (total / length.clamp(min=1.0) ** length_penalty).argmax(dim=1)
    pick = (rows[:, 0] + best).tolist()
    tokens = said.tolist()
    weights = torch.stack(heard, dim=1).float().tolist()
    result = Found([], [], (total / length.clamp(min=1.0) ** length_penalty).amax(dim=1).tolist())
    for row in pick:
        text = tokens[row]
        end = text.index(eos) + 1 if eos in text else len(text)
        result.words.append(text[:end])
        result.weights.append(weights[row][:end])
    return result


def _highest(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the `count` highest values of each row and where they stand; of equal ones the first.

    ``topk`` leaves open which of equal values it takes, and a stable sort of a whole vocabulary
    costs many times as much. Where all is taken, -inf comes again.
    """
    left = scores.clone()
    values, places = [], []
    for _ in range(count):
        value, place = left.max(dim=1, keepdim=True)
        left.scatter_(1, place, float("-inf"))
        values.append(value)
        places.append(place)
    return torch.cat(values, dim=1), torch.cat(places, dim=1)
