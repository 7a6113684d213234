"""What must hold for caption metrics, whatever the captions."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, influence, prepare
from mmbench.references import Slots, TextReferences

CAPTION_METRICS = ["bleu1", "bleu2", "bleu3", "bleu4", "cider_d", "rouge_l"]
SLOT_METRICS = [
    name
    for name in registry.names("metric")
    if name.endswith("_f1") and registry.load("metric", name).family == "slots"
]
METRICS = CAPTION_METRICS + SLOT_METRICS

WORDS = st.sampled_from(["a", "b", "c", "d", "Dog", "it's", "😀", "."])
CAPTION = st.lists(WORDS, max_size=9).map(" ".join)
ITEM = st.tuples(CAPTION, st.lists(CAPTION, min_size=1, max_size=4).map(tuple))
CORPUS = st.lists(ITEM, min_size=2, max_size=8)
Corpus = list[tuple[str, tuple[str, ...]]]


def parse(text: str) -> Slots:
    words = [word for word in text.lower().split() if word[0].isalpha()]
    return {
        "object": frozenset((w,) for w in words if w in "abcd"),
        "attribute": frozenset((w,) for w in words if w == "dog"),
        "relation": frozenset(pairwise(words)),
        "sound": frozenset((w,) for w in words if w == "it's"),
        "emitter": frozenset((w,) for w in words[:1]),
        "count": frozenset({(str(len(words)),)} if words else ()),
    }


def items_of(corpus: Corpus) -> TextItems:
    references = [references for _, references in corpus]
    slots = [parse(texts[0]) for texts in references]
    return prepare([said for said, _ in corpus], TextReferences(references, slots, parse))


def value(name: str, corpus: Corpus) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items_of(corpus)))


@pytest.mark.parametrize("name", METRICS)
@given(corpus=CORPUS)
@settings(max_examples=25, deadline=None)
def test_values_stay_within_their_bounds(name: str, corpus: Corpus) -> None:
    low, high = registry.load("metric", name).bounds
    assert low is not None
    assert high is not None
    assert low <= value(name, corpus) <= high + 1e-12


@pytest.mark.parametrize("name", METRICS)
@given(corpus=CORPUS, order=st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_items_does_not_matter(name: str, corpus: Corpus, order) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(corpus)
    order.shuffle(shuffled)
    assert value(name, shuffled) == pytest.approx(value(name, corpus), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", CAPTION_METRICS)
@given(corpus=CORPUS)
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_references_does_not_matter(name: str, corpus: Corpus) -> None:
    turned = [(said, references[::-1]) for said, references in corpus]
    assert value(name, turned) == pytest.approx(value(name, corpus), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "cider_d"])
@given(corpus=CORPUS)
@settings(max_examples=25, deadline=None)
def test_a_corpus_twice_over_scores_the_same(name: str, corpus: Corpus) -> None:
    # BLEU's guards against division by zero do not scale, and are all there is where nothing
    # matches: hence the absolute tolerance.
    close = pytest.approx(value(name, corpus), rel=1e-6, abs=1e-2 if "bleu" in name else 1e-12)
    assert value(name, corpus * 2) == close


@given(corpus=CORPUS)
@settings(max_examples=50, deadline=None)
def test_cider_of_a_corpus_twice_over_is_the_same_if_every_ngram_is_known(corpus: Corpus) -> None:
    # log 2N - log 2df = log N - log df. An n-gram that no reference has counts as df = 1 in both.
    texts = [texts[0] for _, texts in corpus]
    known = [(text, refs) for text, (_, refs) in zip(texts[1:] + texts[:1], corpus, strict=True)]
    assert value("cider_d", known * 2) == pytest.approx(value("cider_d", known), abs=1e-12)


def test_cider_of_a_corpus_twice_over_falls_where_a_prediction_invents() -> None:
    corpus: Corpus = [("a new dog", ("a dog runs",)), ("a cat", ("a cat", "the cat"))]
    assert 0.0 < value("cider_d", corpus * 2) < value("cider_d", corpus)


@pytest.mark.parametrize("name", [name for name in METRICS if name != "cider_d"])
def test_a_copy_of_a_reference_reaches_the_bound(name: str) -> None:
    texts = ["a Dog c it's d", "b c Dog it's a a", "c c Dog a it's"]
    corpus: Corpus = [(text, (text, "d b")) for text in texts]
    assert value(name, corpus) == pytest.approx(1.0, abs=1e-7)


def test_cider_of_a_copy_of_the_only_reference_is_ten() -> None:
    corpus: Corpus = [(text, (text,)) for text in ("a b c d dog", "c b dog a", "d d c a b")]
    assert value("cider_d", corpus) == pytest.approx(10.0, abs=1e-12)


def test_cider_of_captions_shorter_than_four_words_is_capped() -> None:
    corpus: Corpus = [(text, (text,)) for text in ("a b c", "c b dog", "d d c")]
    assert value("cider_d", corpus) == pytest.approx(7.5, abs=1e-12)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("nothing", ["", "   ", "..."])
def test_saying_nothing_scores_nothing(name: str, nothing: str) -> None:
    corpus: Corpus = [(nothing, ("a Dog it's", "a c")), (nothing, ("b", "..."))]
    assert value(name, corpus) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("name", CAPTION_METRICS)
def test_saying_nothing_about_one_item_costs_something(name: str) -> None:
    full: Corpus = [(text, (text,)) for text in ("a b c d dog", "c b dog a it's", "d d c a b")]
    assert value(name, [("", full[0][1]), *full[1:]]) < value(name, full) - 0.05


def test_two_empty_captions_share_no_subsequence() -> None:
    # pycocoevalcap scores 1 here: it splits an empty caption into one empty word.
    assert value("rouge_l", [("", ("",)), ("...", ("!", "a dog"))]) == 0.0


def test_cider_of_one_item_is_refused_with_the_reason() -> None:
    items = items_of([("a dog", ("a dog",))])
    metric = registry.load("metric", "cider_d")
    with pytest.raises(UsageError, match=r"'cider_d': one item is no corpus.*log 1 = 0"):
        metric.measure(items)
    with pytest.raises(UsageError, match="one item is no corpus"):
        metric.stats(items)


def random_corpus(size: int) -> Corpus:
    draw = np.random.default_rng(7)
    words = [*"abcd", "Dog", "it's", *(f"w{i}" for i in range(20))]
    weights = 1.0 / np.arange(1, len(words) + 1)
    weights /= weights.sum()

    def caption() -> list[str]:
        return list(draw.choice(words, size=draw.integers(4, 12), p=weights))

    corpus: Corpus = []
    for _ in range(size):
        said = caption()
        references = tuple(
            " ".join(said[draw.integers(0, 2) : draw.integers(2, 9)] + caption()) for _ in range(3)
        )
        corpus.append((" ".join(said), references))
    return corpus


@pytest.mark.parametrize("name", METRICS)
def test_influence_agrees_with_leaving_each_item_out(name: str) -> None:
    metric = registry.load("metric", name)
    stats = metric.measure(items_of(random_corpus(300)))
    total = stats.sum(axis=0)
    dropped = metric.of_sums(total) - metric.of_sums(total - stats)
    psi = influence(metric, stats)
    assert abs(psi.sum()) < 1e-12
    assert np.std(psi) > 0
    np.testing.assert_allclose(psi, dropped, atol=0.05 * np.std(psi) + 0.02 * np.abs(psi).max())
    assert np.corrcoef(psi, dropped)[0, 1] > 0.999


@pytest.mark.parametrize("name", ["cider_d", "rouge_l"])
def test_influence_on_a_mean_is_exact(name: str) -> None:
    metric = registry.load("metric", name)
    stats = metric.measure(items_of(random_corpus(50)))
    scores = stats[:, 0]
    exact = (scores - scores.mean()) / len(scores)
    np.testing.assert_allclose(influence(metric, stats), exact, rtol=1e-12, atol=1e-15)
