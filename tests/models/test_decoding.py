"""Beam search against enumeration, on tables and on whole models."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor

from mmbench import registry
from mmbench.models.contract import Combined
from mmbench.models.decoding import Found, beam_search
from mmbench.models.model import Model
from mmbench.spec import ComponentSpec
from mmbench.text import SPECIALS
from mmbench.types import Output, Signature

PAD, BOS, EOS = 0, 1, 2
SIZE, LIMIT = 5, 4
CPU = torch.device("cpu")
ENOUGH = 81  # more than there are prefixes


class Table:
    """A language model whose next word depends on all words before; each prefix has a number."""

    def __init__(self, items: int, seed: int, scores: Tensor | None = None) -> None:
        self.prefixes = sum(SIZE**length for length in range(LIMIT + 1))
        draw = torch.Generator().manual_seed(seed)
        shape = (items, self.prefixes, SIZE)
        given = torch.randn(shape, generator=draw) * 1.5 if scores is None else scores.expand(shape)
        self.log_probs = given.log_softmax(dim=-1)
        self.items = items
        self.beams = 1
        self.calls = 0

    def number(self, words: list[int]) -> int:
        found = 0
        for word in words:
            found = found * SIZE + word + 1
        return found

    def step(self, state: Tensor, words: Tensor, at: int) -> tuple[Combined, Tensor]:
        self.calls += 1
        state = state * SIZE + words + 1 if at else state
        item = torch.arange(len(words)) // self.beams
        share = state.float() / self.prefixes
        return Combined(self.log_probs[item, state], torch.stack([share, 1 - share], dim=1)), state

    def search(self, beams: int, limit: int = LIMIT, penalty: float = 0.7) -> Found:
        self.beams, self.calls = beams, 0
        return beam_search(
            torch.zeros(self.items * beams, dtype=torch.long),
            self.step,
            lambda state, index: state[index],
            items=self.items,
            beams=beams,
            limit=limit,
            bos=BOS,
            eos=EOS,
            forbidden=(PAD, BOS),
            length_penalty=penalty,
            device=CPU,
        )

    def score(self, item: int, words: list[int], penalty: float) -> float:
        table = self.log_probs.double()
        parts = [table[item, self.number(words[:at]), word] for at, word in enumerate(words)]
        return float(sum(parts)) / len(words) ** penalty

    def best(self, item: int, limit: int, penalty: float) -> tuple[float, list[int]]:
        """Try every text: those that end, and those that reach the limit."""
        return max((self.score(item, text, penalty), text) for text in texts(limit, SIZE))


def texts(limit: int, size: int, first: int = EOS + 1) -> list[list[int]]:
    spoken = range(first, size)
    ended = [[*words, EOS] for n in range(limit) for words in itertools.product(spoken, repeat=n)]
    return ended + [list(words) for words in itertools.product(spoken, repeat=limit)]


@pytest.mark.parametrize("penalty", [0.0, 0.7, 2.0])
@pytest.mark.parametrize("limit", [1, 2, LIMIT])
def test_with_enough_beams_it_finds_the_best_text(limit: int, penalty: float) -> None:
    table = Table(items=12, seed=limit)
    found = table.search(ENOUGH, limit, penalty)
    for item in range(table.items):
        score, words = table.best(item, limit, penalty)
        assert found.words[item] == words
        assert found.scores[item] == pytest.approx(score, abs=1e-5)


def test_a_few_beams_find_no_worse_a_text_than_one_on_the_whole() -> None:
    table = Table(items=200, seed=7)
    means = [float(np.mean(table.search(beams).scores)) for beams in (1, 2, 4, ENOUGH)]
    assert means == sorted(means)
    assert means[0] < means[1] < means[-1]


@pytest.mark.parametrize("beams", [1, 3])
def test_scores_are_those_of_the_words(beams: int) -> None:
    table = Table(items=20, seed=1)
    found = table.search(beams)
    for item, words in enumerate(found.words):
        assert found.scores[item] == pytest.approx(table.score(item, words, 0.7), abs=1e-5)


def test_one_beam_takes_the_likeliest_word_each_time() -> None:
    table = Table(items=20, seed=2)
    found = table.search(1)
    for item in range(table.items):
        words: list[int] = []
        while len(words) < LIMIT and EOS not in words:
            scores = table.log_probs[item, table.number(words)].clone()
            scores[[PAD, BOS]] = -torch.inf
            words.append(int(scores.argmax()))
        assert found.words[item] == words
    assert {len(words) for words in found.words} == {1, 2, 3, 4}


@pytest.mark.parametrize("beams", [1, 3, ENOUGH])
def test_forbidden_words_are_never_said_however_likely(beams: int) -> None:
    likely = torch.tensor([9.0, 8.0, 0.0, 0.1, 0.2])
    table = Table(items=3, seed=0, scores=likely)
    for words in table.search(beams).words:
        assert words
        assert not {PAD, BOS} & set(words)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("limit", [1, 3])
def test_no_text_is_longer_than_the_limit(beams: int, limit: int) -> None:
    endless = torch.tensor([0.0, 0.0, -9.0, 1.0, 2.0])
    found = Table(items=2, seed=0, scores=endless).search(beams, limit)
    assert found.words == [[4] * limit] * 2
    assert [len(weights) for weights in found.weights] == [limit] * 2


@pytest.mark.parametrize("beams", [1, 2, 3, ENOUGH])
def test_weights_are_those_of_the_chosen_texts_own_history(beams: int) -> None:
    table = Table(items=30, seed=3)
    found = table.search(beams)
    assert len({tuple(words) for words in found.words}) > 5
    for words, weights in zip(found.words, found.weights, strict=True):
        shares = [table.number(words[:at]) / table.prefixes for at in range(len(words))]
        assert np.allclose(weights, [[share, 1 - share] for share in shares], atol=1e-6)


@pytest.mark.parametrize("beams", [1, 3])
def test_an_item_alone_is_decoded_as_among_others(beams: int) -> None:
    table = Table(items=10, seed=4)
    together = table.search(beams)
    for item in range(10):
        alone = Table(items=1, seed=0)
        alone.log_probs = table.log_probs[item : item + 1]
        assert alone.search(beams).words == [together.words[item]]


@pytest.mark.parametrize("beams", [1, 2, 3])
def test_of_equal_scores_the_lower_word_wins(beams: int) -> None:
    level = torch.zeros(SIZE)
    assert Table(items=2, seed=0, scores=level).search(beams, penalty=0.0).words == [[EOS]] * 2
    spoken = torch.tensor([0.0, 0.0, -50.0, 1.0, 1.0])
    assert Table(items=2, seed=0, scores=spoken).search(beams).words == [[3] * LIMIT] * 2


def test_more_beams_than_texts_do_no_harm() -> None:
    table = Table(items=5, seed=5)
    for item, words in enumerate(table.search(ENOUGH, limit=1).words):
        assert words == table.best(item, 1, 0.7)[1]


def test_the_search_stops_when_every_hypothesis_has_ended() -> None:
    ending = torch.tensor([0.0, 0.0, 30.0, 1.0, 2.0])
    table = Table(items=4, seed=0, scores=ending)
    assert table.search(1).words == [[EOS]] * 4
    assert table.calls == 1


# --- the same on whole models ---------------------------------------------------------------------

WORDS = (*SPECIALS, "a", "red", "ball")
SHORT = 3
SIGNATURE = Signature(tiny.SIGNATURE.modalities, {"caption": Output("text", SHORT, WORDS)})


def cases() -> list[Any]:
    heads = [n for n in registry.names("head") if registry.load("head", n).kind == "text"]
    return [pytest.param(b, h, id=f"{b} {h}") for b in ("early", "late", "hybrid") for h in heads]


@pytest.mark.parametrize(("baseline", "head"), cases())
@torch.no_grad()
def test_what_is_read_out_is_the_likeliest_text_under_the_mixture(baseline: str, head: str) -> None:
    model = tiny.make(
        tiny.spec(baseline, heads={"text": ComponentSpec(head)}), seed=1, signature=SIGNATURE
    )
    # Sharper than at birth, or all texts would be nearly equal.
    model.head_of("caption", 0).bias.copy_(torch.tensor([0.0, 0.0, 0.8, 0.0, 0.5, 0.2, 0.4]))
    items = tiny.split(6)
    batch = tiny.batch(items, model)
    batch = replace(batch, targets={})
    said, columns = model.read_out(batch, {"beams": ENOUGH, "length_penalty": 0.7})
    every = texts(SHORT, len(WORDS), first=len(SPECIALS))
    scores, weights = taught(model, batch, every)
    for item in range(6):
        best = int(scores[item].argmax())
        words = every[best]
        assert said["caption"][item] == " ".join(WORDS[w] for w in words if w != EOS)
        expected = weights[item, best, : len(words)]
        assert np.allclose(columns["caption.gate"][item], expected, atol=1e-5)


def taught(model: Model, batch: Any, every: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Score texts by teacher forcing: [B, texts] and the weights [B, texts, L, K]."""
    branches = model.fuse(batch).branches
    scores, weights = [], []
    for words in every:
        padded = torch.tensor(words + [PAD] * (SHORT - len(words))).expand(batch.size, -1)
        merged = model.verdict("caption", branches, padded).combined
        each = merged.answer.gather(2, padded[..., None])[..., 0]
        scores.append(each[:, : len(words)].double().sum(dim=1) / len(words) ** 0.7)
        weights.append(merged.weights)
    return torch.stack(scores, dim=1), torch.stack(weights, dim=1)


def test_what_is_taught_of_real_words_alone_is_what_is_read_word_by_word() -> None:
    """The Transformer leaves out what stands behind a text's end; its states there are zero."""
    from mmbench.models.heads.transformer import Transformer
    from mmbench.text import BOS, EOS, PAD
    from mmbench.types import Branch, Output

    torch.manual_seed(0)
    words = ("<pad>", "<bos>", "<eos>", "<unk>", *(f"w{i}" for i in range(20)))
    head = Transformer(Output("text", 10, words), 32).eval()
    seq, mask = torch.randn(4, 7, 32), torch.rand(4, 7) > 0.3
    mask[:, 0] = True
    branch = Branch("joint", seq, mask, seq.mean(dim=1), torch.ones(4, dtype=torch.bool))
    target = torch.randint(4, 24, (4, 10))
    for item, length in enumerate([3, 10, 1, 6]):
        target[item, length - 1] = EOS
        target[item, length:] = PAD
    with torch.no_grad():
        taught = head(branch, target).states
        state, said = head.begin(branch, 1), torch.full((4,), BOS)
        for step in range(10):
            states, state = head.advance(state, said, step)
            real = target[:, step] != PAD
            assert torch.allclose(states[real], taught[:, step][real], atol=1e-5)
            assert not taught[:, step][~real].any()
            said = target[:, step]
