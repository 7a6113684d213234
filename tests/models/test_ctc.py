"""Reading out CTC and its loss, held against sums over every path there is."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mmbench.models.ctc import collapse, greedy, prefix_beam
from mmbench.models.heads.transcript import Transcript
from mmbench.text import steps_needed
from mmbench.types import Branch, Output


def drawn(steps: int, symbols: int, seed: int, sharp: float = 1.0) -> NDArray[np.float64]:
    """Normalised log-probabilities [T, C]."""
    logits = sharp * np.random.default_rng(seed).standard_normal((steps, symbols))
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def texts(log_probs: NDArray[np.float64]) -> dict[tuple[int, ...], float]:
    """Every text's probability, by the sum over all paths."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    steps, symbols = log_probs.shape
    for path in itertools.product(range(symbols), repeat=steps):
        found[tuple(collapse(path))] += math.exp(sum(log_probs[range(steps), path]))
    return found


def head(symbols: int, size: int = 1, clock: str = "latent:99") -> Transcript:
    names = ("<blank>", *(chr(97 + n) for n in range(symbols - 1)))
    return Transcript(Output("transcript", size, names, clock=clock), width=8)


@pytest.mark.parametrize("target", [(1,), (1, 2), (1, 1), (2, 1, 2), (2, 2, 1), ()])
def test_the_loss_is_the_sum_over_all_paths(target: tuple[int, ...]) -> None:
    log_probs = drawn(5, 3, seed=len(target) + sum(target))
    wanted = -math.log(texts(log_probs)[target])
    answer = torch.from_numpy(log_probs)[None]
    told = torch.zeros(1, 4, dtype=torch.int64)
    told[0, : len(target)] = torch.tensor(target, dtype=torch.int64)
    got = float(head(3).nll(answer, told)) * max(1, len(target))
    assert got == pytest.approx(wanted, rel=1e-9)


def test_the_loss_is_a_mean_over_symbols_of_all_items() -> None:
    answers = torch.from_numpy(np.stack([drawn(5, 3, 1), drawn(5, 3, 2)]))
    told = torch.tensor([[1, 2, 1], [2, 0, 0]])
    one, other = (head(3).nll(answers[i : i + 1], told[i : i + 1]) for i in range(2))
    assert float(head(3).nll(answers, told)) == pytest.approx(float(3 * one + other) / 4, rel=1e-6)


@torch.no_grad()
def test_steps_beyond_the_end_change_neither_loss_nor_text() -> None:
    made = head(4)
    seq = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.tensor([[True] * 6, [True] * 4 + [False] * 2])
    told = torch.tensor([[1, 2], [3, 1]])
    pooled, present = seq.mean(dim=1), torch.ones(2, dtype=torch.bool)
    long = made(Branch("joint", seq, mask, pooled, present), told)
    other = torch.where(mask[..., None], seq, torch.full_like(seq, 1e3))
    again = made(Branch("joint", other, mask, pooled, present), told)
    assert torch.equal(long.answer, again.answer)
    cut = Branch("joint", seq[1:, :4], mask[1:, :4], pooled[1:], present[1:])
    short = made(cut, told[1:])
    assert float(made.nll(long.answer[1:], told[1:])) == pytest.approx(
        float(made.nll(short.answer, told[1:])), rel=1e-5
    )


@pytest.mark.parametrize("seed", range(12))
def test_enough_beams_find_the_likeliest_text(seed: int) -> None:
    log_probs = drawn(5, 4, seed, sharp=1.5)
    found = texts(log_probs)
    best = max(found, key=lambda text: found[text])
    assert tuple(prefix_beam(log_probs, beams=4**5)) == best


def test_the_best_path_is_not_always_the_best_text() -> None:
    # Blank and blank is the likeliest path (.36), and "a" the likeliest text (.16 + .24 + .24).
    log_probs = np.log(np.array([[0.6, 0.4], [0.6, 0.4]]))
    assert greedy(log_probs) == []
    assert prefix_beam(log_probs, beams=8) == [1]


def test_few_beams_do_better_than_the_best_path_on_the_whole() -> None:
    gains = []
    for seed in range(30):
        log_probs = drawn(6, 3, seed)
        found = texts(log_probs)
        gains.append(found[tuple(prefix_beam(log_probs, 3))] - found[tuple(greedy(log_probs))])
    assert min(gains) > -0.01
    assert sum(gains) > 0.1


def test_an_equal_neighbour_takes_a_blank_between() -> None:
    assert collapse([1, 1, 0, 1]) == [1, 1]
    assert steps_needed([1, 1, 2, 2, 2]) == 8
    log_probs = np.log(np.array([[0.05, 0.95], [0.95, 0.05], [0.05, 0.95]]))
    assert prefix_beam(log_probs, 4) == greedy(log_probs) == [1, 1]


def test_certain_steps_are_searched_without_a_warning() -> None:
    log_probs = np.array([[0.0, -np.inf], [-np.inf, 0.0]])
    assert prefix_beam(log_probs, 4) == [1]
