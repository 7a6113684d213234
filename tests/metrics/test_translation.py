"""The BLEU of sacrebleu: equal to sacrebleu itself, whatever stands in the texts."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import MissingExtraError, UsageError
from mmbench.metrics import TextItems, influence, prepare
from mmbench.metrics.translation import tokenizer
from mmbench.references import TextReferences

sacrebleu = pytest.importorskip("sacrebleu", reason="the comparison needs sacrebleu")

#: Whatever a tokeniser of lines could take apart in another way than one of words.
NASTY = (
    "A", "a", "dog", "Dog", "the", "the", "isn't", "t-shirt", "naïve", "日本", "½", "?!", "<unk>",
    "😀", "...", "U.S.", "3", "(", "$5", "3.5", "1,000", "a,b", "x.y", "5-4", "9-", "-", "-\n",
    "\n", "ab-\ncd", "&quot;", "&amp;lt;", "<skipped>", "-<skipped>\n", "<skip-\nped>", "’", "ß",
    "<skip<skipped>ped>-\n", "«bonjour»", "ΑΣ", "İ", "\u2028", "\x1f", "\ud800", "\ufdd0", "。你好",
)  # fmt: skip
OWN = ("13a", "char", "none")
BORROWED = ("intl", "zh")


def corpus(seed: int, size: int, longest: int) -> TextItems:
    """Draw texts of nasty pieces with and without blanks between; one to five references."""
    draw = random.Random(seed)

    def text() -> str:
        pieces = draw.choices(NASTY, k=draw.randint(0, longest))
        return "".join(piece + draw.choice(["", " ", " ", " ", "  "]) for piece in pieces)

    said, references = [], []
    for _ in range(size):
        true = tuple(text() for _ in range(draw.randint(1, 5)))
        references.append(true)
        said.append(draw.choice([text(), true[0], true[0][: draw.randint(0, 9)], ""]))
    return prepare(said, TextReferences(references))


CORPORA = {
    "long": corpus(0, 40, 30),
    "short": corpus(1, 60, 4),
    "one item": corpus(5, 1, 12),
    "no match": prepare(["a b c d e", "f"], TextReferences([("g h",), ("i", "j k l m")])),
    "few matches": prepare(["a b c d e", "f"], TextReferences([("g b c",), ("i", "j k l m")])),
    "nothing said": prepare(["", " "], TextReferences([("a b",), ("",)])),
    "nothing to say": prepare(["a b c d", "e"], TextReferences([("",), ("", " ")])),
}


def streams(references: Sequence[tuple[str, ...]]) -> list[list[str | None]]:
    """Lay references out as sacrebleu wants them: one list for the first of each, and so on."""
    longest = max(map(len, references))
    return [[r[n] if n < len(r) else None for r in references] for n in range(longest)]


def reference(items: TextItems, **options: object) -> float:
    scorer = sacrebleu.metrics.BLEU(force=True, **options)
    return float(scorer.corpus_score(list(items.predictions), streams(items.references)).score)


#: Metric -> its value of given items, by sacrebleu.
REFERENCES: dict[str, Callable[[TextItems], float]] = {"sacrebleu": reference}


def ours(items: TextItems, **options: object) -> float:
    metric = registry.load("metric", "sacrebleu").configure(options)
    return float(metric.of(metric.measure(items)))


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("lowercase", [False, True])
@pytest.mark.parametrize("tokenize", [*OWN, *BORROWED])
def test_bleu_equals_sacrebleu(tokenize: str, lowercase: bool, which: str) -> None:
    options = {"tokenize": tokenize, "lowercase": lowercase}
    items = CORPORA[which]
    assert ours(items, **options) == pytest.approx(reference(items, **options), abs=1e-9)


@pytest.mark.parametrize("seed", range(10, 30))
def test_bleu_equals_sacrebleu_on_more_texts(seed: int) -> None:
    items = corpus(seed, 3 + seed, 3 + seed)
    assert ours(items) == pytest.approx(reference(items), abs=1e-9)


PIECES = st.lists(st.one_of(st.sampled_from(NASTY), st.text(max_size=4)), max_size=6).map("".join)


@pytest.mark.parametrize("name", OWN)
@given(text=PIECES)
@example(text="ab-")
@example(text="ab- \n")
@settings(max_examples=150, deadline=None)
def test_our_tokenisers_take_texts_apart_as_sacrebleu_does(name: str, text: str) -> None:
    theirs = sacrebleu.metrics.BLEU(tokenize=name).tokenizer
    assert tokenizer(name, lowercase=False).texts([text]) == [theirs(text.rstrip()).split()]


@pytest.mark.parametrize("name", OWN)
@given(text=PIECES)
@settings(max_examples=150, deadline=None)
def test_runs_of_letters_have_the_tokens_that_they_have_in_their_text(name: str, text: str) -> None:
    found = tokenizer(name, lowercase=True)
    runs = [found.run(run) for run in text.split()]
    if None not in runs:
        assert [token for run in runs for token in run or ()] == found.texts([text])[0]


@pytest.mark.parametrize("which", ["long", "short", "few matches"])
def test_influence_is_what_leaving_an_item_out_changes(which: str) -> None:
    # Smoothing jumps where a last match is lost, so only items that leave one are looked at.
    items, metric = CORPORA[which], registry.load("metric", "sacrebleu")
    rows = metric.measure(items)
    total, psi = rows.sum(axis=0), influence(metric, rows)
    assert abs(psi.sum()) < 1e-9
    for row, moved in zip(rows, psi, strict=True):
        small = 1e-4 * (row - total / len(rows))
        change = float(metric.of_sums(total + small) - metric.of_sums(total - small)) / 2e-4
        if ((total[:4] > 0) | (row[:4] == 0)).all():
            assert moved == pytest.approx(change, rel=1e-4, abs=1e-6)


def test_the_statistics_add_up_because_smoothing_is_of_the_corpus() -> None:
    metric, items = registry.load("metric", "sacrebleu"), CORPORA["long"]
    rows = metric.measure(items)
    half = prepare(list(items.predictions[:20]), TextReferences(list(items.references[:20])))
    np.testing.assert_array_equal(metric.measure(half), rows[:20])
    assert metric.of_sums(np.stack([rows.sum(axis=0), rows[:20].sum(axis=0)])) == pytest.approx(
        [reference(items), reference(half)], abs=1e-9
    )


def test_an_empty_prediction_scores_nothing_and_costs_something() -> None:
    texts = ["a b c d e", "f g h i j"]
    both = prepare(texts, TextReferences([(t,) for t in texts]))
    one = prepare(["", texts[1]], TextReferences([(t,) for t in texts]))
    assert ours(both) == pytest.approx(100.0)
    assert ours(one) == pytest.approx(100 / np.e)
    assert ours(prepare(["", ""], TextReferences([("",), ("a",)]))) == 0.0


def test_the_signature_says_how_it_was_computed() -> None:
    default, other = (registry.load("metric", n) for n in ("sacrebleu", "sacrebleu(tokenize=char)"))
    assert default.signature != other.signature
    assert "tokenize:13a" in default.signature
    assert "smoothing:exp" in default.signature


def test_an_unknown_tokeniser_is_refused_with_those_there_are() -> None:
    metric = registry.load("metric", "sacrebleu(tokenize=moses)")
    with pytest.raises(UsageError, match=r"expected one of 13a, char, none, intl, zh, got 'moses'"):
        metric.measure(CORPORA["long"])


@pytest.mark.parametrize("name", BORROWED)
def test_a_borrowed_tokeniser_without_sacrebleu_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    with pytest.raises(MissingExtraError, match=rf"sacrebleu.*'{name}'.*mmbench\[metrics\]"):
        ours(CORPORA["short"], tokenize=name)
    assert ours(CORPORA["long"]) > 0  # the others need nothing
