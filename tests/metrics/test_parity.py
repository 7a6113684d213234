"""Every metric equals an independent implementation, on ordinary and on nasty captions."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from mmbench import registry
from mmbench.metrics import TextItems, prepare
from mmbench.references import Slots, TextReferences

#: Words that whoever splits, lower-cases or counts carelessly gets wrong.
NASTY = (
    "A", "a", "dog", "Dog", "the", "the", "isn't", "t-shirt", "naïve", "日本", "½", "?!", "<unk>",
    "😀", "...", "U.S.", "3", "(", "$5",
)  # fmt: skip


def corpus(
    seed: int, items: int, words: Sequence[str], longest: int, shortest: int = 1
) -> TextItems:
    """Draw captions with one to six references; predictions may be empty, or copies."""
    draw = random.Random(seed)

    def caption(least: int = 0) -> str:
        return " ".join(draw.choices(words, k=draw.randint(least, longest)))

    predictions, references, slots = [], [], []
    for _ in range(items):
        texts = [caption(shortest) for _ in range(draw.randint(1, 6))]
        cut = " ".join(texts[0].split()[: draw.randint(1, longest)])
        predictions.append(draw.choice([caption(), texts[0], cut, "", caption()]))
        references.append(tuple(texts))
        slots.append(parse(texts[-1]))
    return prepare(predictions, TextReferences(references, slots, parse))


KINDS = (
    "object", "attribute", "relation", "sound", "emitter", "count", "motion", "time", "mood",
)  # fmt: skip


def parse(caption: str) -> Slots:
    """Read made-up slots: the letters of a word say what kind of slot it fills."""
    found: dict[str, set[tuple[str, ...]]] = {kind: set() for kind in KINDS}
    for word in caption.split():
        found[KINDS[sum(map(ord, word)) % len(KINDS)]].add((word, word[0]))
    return {kind: frozenset(fillers) for kind, fillers in found.items()}


LETTERS = list("abcdefgh")
CORPORA = {
    "ordinary": corpus(0, 60, [f"w{i}" for i in range(40)], 14),
    "few words": corpus(1, 40, ["a", "b"], 12),
    "shorter than four": corpus(2, 40, LETTERS, 3),
    "nasty": corpus(3, 80, NASTY, 10, shortest=0),
    "exactly 64": corpus(6, 12, LETTERS, 64, shortest=64),
    "longer than 64": corpus(4, 12, LETTERS, 200),
    "two items": corpus(5, 2, LETTERS, 8),
}


def coco(items: TextItems, empty: str = "") -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Lay tokens out as pycocoevalcap wants them; `empty` stands for a reference without any."""
    truth = {
        place: [" ".join(tokens) or empty for tokens in references]
        for place, references in enumerate(items.reference_tokens)
    }
    return truth, {place: [" ".join(tokens)] for place, tokens in enumerate(items.tokens)}


def bleu(order: int) -> Callable[[TextItems], tuple[float, None]]:
    def reference(items: TextItems) -> tuple[float, None]:
        from pycocoevalcap.bleu.bleu import Bleu

        return Bleu(4).compute_score(*coco(items), verbose=0)[0][order - 1], None

    return reference


def cider_d(items: TextItems) -> tuple[float, list[float]]:
    from pycocoevalcap.cider.cider import Cider

    return Cider().compute_score(*coco(items))


def rouge_l(items: TextItems) -> tuple[float, list[float]]:
    from pycocoevalcap.rouge.rouge import Rouge

    # For two empty captions, and only there, do we depart from it: see
    # `test_two_empty_captions_share_no_subsequence`. So none of its references is empty.
    return Rouge().compute_score(*coco(items, empty="<a word that no prediction has>"))


def f1(kind: str | None) -> Callable[[TextItems], tuple[float, None]]:
    def reference(items: TextItems) -> tuple[float, None]:
        from sklearn.metrics import f1_score

        said: set[tuple[object, ...]] = set()
        true: set[tuple[object, ...]] = set()
        for place, (prediction, slots) in enumerate(
            zip(items.predictions, items.slots or [], strict=True)
        ):
            for facts, found in ((said, parse(prediction)), (true, slots)):
                facts |= {(place, k, *f) for k in found for f in found[k] if kind in (None, k)}
        universe = [*said | true, "a fact that neither has"]
        truth, answer = ([fact in facts for fact in universe] for facts in (true, said))
        return f1_score(truth, answer, zero_division=0.0), None

    return reference


#: Metric -> from items to (value, scores of the items or None), written by somebody else.
REFERENCES: dict[str, Callable[[TextItems], tuple[float, list[float] | None]]] = {
    **{f"bleu{n}": bleu(n) for n in (1, 2, 3, 4)},
    "cider_d": cider_d,
    "rouge_l": rouge_l,
    "slot_f1": f1(None),
    **{f"{kind}_f1": f1(kind) for kind in KINDS if kind != "mood"},
}


@pytest.mark.parametrize("name", REFERENCES)
@pytest.mark.parametrize("which", CORPORA)
def test_a_metric_equals_its_independent_reference(name: str, which: str) -> None:
    items, metric = CORPORA[which], registry.load("metric", name)
    value, scores = REFERENCES[name](items)
    rows = metric.measure(items)
    assert float(metric.of_sums(rows.sum(axis=0))) == pytest.approx(value, rel=1e-12, abs=1e-12)
    if scores is not None:
        np.testing.assert_allclose(rows[:, 0], scores, rtol=1e-12, atol=1e-12)


def test_the_nasty_corpus_has_captions_without_any_token() -> None:
    items = CORPORA["nasty"]
    assert [] in items.tokens
    assert any([] in references for references in items.reference_tokens)
