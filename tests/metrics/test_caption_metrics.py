"""What must hold for caption metrics, whatever the captions: CIDEr, BLEU, ROUGE-L and slots."""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import chain, pairwise, product
from string import ascii_lowercase

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmbench import registry, text
from mmbench.errors import UsageError
from mmbench.metrics import TextItems, _captions, influence, prepare, pseudo_values
from mmbench.metrics._captions import Captions
from mmbench.metrics._lcs import _long, lcs
from mmbench.metrics._ngrams import _sort, by_part, count
from mmbench.metrics.slots import KINDS
from mmbench.references import Slots, TextReferences
from mmbench.stats import crossed
from mmbench.types import Floats

CAPTION_METRICS = ["bleu1", "bleu2", "bleu3", "bleu4", "cider", "cider_d", "rouge_l"]
CIDERS = ["cider", "cider_d"]
SLOT_METRICS = ["slot_f1", *(f"{kind}_f1" for kind in KINDS)]
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


@pytest.mark.parametrize("name", [name for name in METRICS if name not in CIDERS])
@given(corpus=CORPUS)
@settings(max_examples=25, deadline=None)
def test_a_corpus_twice_over_scores_the_same(name: str, corpus: Corpus) -> None:
    # BLEU's guards against division by zero do not scale, and are all there is where nothing
    # matches: hence the absolute tolerance.
    close = pytest.approx(value(name, corpus), rel=1e-6, abs=1e-2 if "bleu" in name else 1e-12)
    assert value(name, corpus * 2) == close


@pytest.mark.parametrize("name", CIDERS)
@given(corpus=CORPUS)
@settings(max_examples=25, deadline=None)
def test_cider_of_a_corpus_twice_over_is_the_same_if_every_ngram_is_known(
    name: str, corpus: Corpus
) -> None:
    # log 2N - log 2df = log N - log df. An n-gram that no reference has counts as df = 1 in both.
    texts = [texts[0] for _, texts in corpus]
    known = [(text, refs) for text, (_, refs) in zip(texts[1:] + texts[:1], corpus, strict=True)]
    assert value(name, known * 2) == pytest.approx(value(name, known), abs=1e-12)


def test_cider_of_a_corpus_twice_over_falls_where_a_prediction_invents() -> None:
    corpus: Corpus = [("a new dog", ("a dog runs",)), ("a cat", ("a cat", "the cat"))]
    assert 0.0 < value("cider_d", corpus * 2) < value("cider_d", corpus)


@pytest.mark.parametrize("name", [name for name in METRICS if name not in CIDERS])
def test_a_copy_of_a_reference_reaches_the_bound(name: str) -> None:
    texts = ["a Dog c it's d", "b c Dog it's a a", "c c Dog a it's"]
    corpus: Corpus = [(text, (text, "d b")) for text in texts]
    assert value(name, corpus) == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("name", CIDERS)
def test_cider_of_a_copy_of_the_only_reference_is_ten(name: str) -> None:
    corpus: Corpus = [(text, (text,)) for text in ("a b c d dog", "c b dog a", "d d c a b")]
    assert value(name, corpus) == pytest.approx(10.0, abs=1e-12)


@pytest.mark.parametrize("name", CIDERS)
def test_cider_of_captions_shorter_than_four_words_is_capped(name: str) -> None:
    corpus: Corpus = [(text, (text,)) for text in ("a b c", "c b dog", "d d c")]
    assert value(name, corpus) == pytest.approx(7.5, abs=1e-12)


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


@pytest.mark.parametrize("name", [*CIDERS, "cider_d(idf=recomputed)"])
def test_cider_of_one_item_is_refused_with_the_reason(name: str) -> None:
    # Others score 0 without a word, also when they score a corpus one item at a time.
    items = items_of([("a dog", ("a dog",))])
    metric = registry.load("metric", name)
    with pytest.raises(UsageError, match=r"'cider.*one item is no corpus.*log 1 = 0"):
        metric.measure(items)
    with pytest.raises(UsageError, match="one item is no corpus"):
        metric.stats(items)


def test_captions_as_people_write_them_score_as_their_words() -> None:
    # Without lower-casing and without removing punctuation, six equal pairs got 5.97 elsewhere.
    texts = [
        "A dog, and a cat!",
        "two cats run.",
        "Dogs run; dogs bark",
        "it's a man",
        "x y",
        "z w",
    ]
    corpus: Corpus = [(t.upper(), (t.lower().rstrip(".!"),)) for t in texts]
    assert value("cider_d", corpus) == pytest.approx(value("cider_d", [(t, (t,)) for t in texts]))


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


@pytest.mark.parametrize("name", [*CIDERS, "rouge_l"])
def test_influence_on_a_mean_is_exact(name: str) -> None:
    metric = registry.load("metric", name)
    stats = metric.measure(items_of(random_corpus(50)))
    scores = stats[:, 0]
    exact = (scores - scores.mean()) / len(scores)
    np.testing.assert_allclose(influence(metric, stats), exact, rtol=1e-12, atol=1e-15)


# --- CIDEr beside one that was written to be read ------------------------------------------------


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    return Counter(tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1))


def plain_cider(
    items: TextItems, defended: bool, times: Sequence[float] | None = None
) -> list[float]:
    """Return the items' scores, each item standing `times` in the corpus."""
    times = times or [1.0] * len(items)
    scores = [0.0] * len(items)
    for n in (1, 2, 3, 4):
        documents: Counter[tuple[str, ...]] = Counter()
        for weight, references in zip(times, items.reference_tokens, strict=True):
            for gram in {gram for tokens in references for gram in ngrams(tokens, n)}:
                documents[gram] += weight  # type: ignore[assignment]

        def vector(tokens: Sequence[str], n: int, seen: Counter[tuple[str, ...]]) -> dict:  # type: ignore[type-arg]
            whole = math.log(sum(times))
            counts = ngrams(tokens, n).items()
            return {g: (k, whole - (math.log(seen[g]) if seen[g] else 0.0)) for g, k in counts}

        for place, (said, references) in enumerate(
            zip(items.tokens, items.reference_tokens, strict=True)
        ):
            ours = vector(said, n, documents)
            for tokens in references:
                theirs = vector(tokens, n, documents)
                both = ours.keys() & theirs.keys()
                product = sum(
                    (min(ours[g][0], theirs[g][0]) if defended else ours[g][0])
                    * theirs[g][0]
                    * ours[g][1] ** 2
                    for g in both
                )
                norms = [sum((k * w) ** 2 for k, w in v.values()) for v in (ours, theirs)]
                if product and all(norms):
                    similarity = product / math.sqrt(norms[0] * norms[1])
                    if defended:
                        similarity *= math.exp(-((len(said) - len(tokens)) ** 2) / 72)
                    scores[place] += 10 * similarity / 4 / len(references)
    return scores


def nasty_corpus(seed: int, size: int, words: Sequence[str], longest: int) -> TextItems:
    draw = random.Random(seed)

    def caption() -> str:
        return " ".join(draw.choices(words, k=draw.randint(0, longest)))

    corpus: Corpus = []
    for _ in range(size):
        references = tuple(caption() for _ in range(draw.randint(1, 5)))
        corpus.append(
            (draw.choice([caption(), references[0], "", f"{references[0]} a a"]), references)
        )
    return items_of(corpus)


NASTY = ["A", "a", "dog", "Dog", "the", "isn't", "t-shirt", "日本", "½", "?!", "😀", "...", "3"]
CORPORA = {
    "ordinary": nasty_corpus(3, 50, [f"w{i}" for i in range(30)], 14),
    "few words": nasty_corpus(0, 30, ["a", "b"], 8),
    "nasty": nasty_corpus(1, 40, NASTY, 12),
    "two items": nasty_corpus(2, 2, NASTY, 12),
}  # fmt: skip
#: Metric -> its value of given items, written anew without an array.
REFERENCES: dict[str, Callable[[TextItems], float]] = {
    "cider": lambda items: math.fsum(plain_cider(items, defended=False)) / len(items),
    "cider_d": lambda items: math.fsum(plain_cider(items, defended=True)) / len(items),
}


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("name", CIDERS)
def test_cider_equals_one_written_to_be_read(name: str, which: str) -> None:
    items = CORPORA[which]
    rows = registry.load("metric", name).measure(items)
    plain = plain_cider(items, defended=name == "cider_d")
    np.testing.assert_allclose(rows[:, 0], plain, rtol=1e-12, atol=1e-12)


def test_repeating_rare_words_pays_in_cider_alone() -> None:
    fair: Corpus = [("dog b", ("dog",)), ("a c", ("a b",)), ("d", ("c it's",))]
    greedy: Corpus = [("dog dog dog dog b", ("dog",)), *fair[1:]]
    assert value("cider", greedy) > value("cider", fair)
    assert value("cider_d", greedy) < value("cider_d", fair)


@pytest.mark.parametrize("name", CIDERS)
def test_recomputed_frequencies_leave_the_value_as_it_is(name: str) -> None:
    items = items_of(random_corpus(60))
    fixed, recomputed = (registry.load("metric", n) for n in (name, f"{name}(idf=recomputed)"))
    rows = recomputed.measure(items)
    assert recomputed.of(rows) == pytest.approx(fixed.of(fixed.measure(items)), rel=1e-12)
    assert np.abs(rows[:, 0] - fixed.measure(items)[:, 0]).max() > 0.01


@pytest.mark.parametrize("which", CORPORA)
@pytest.mark.parametrize("name", CIDERS)
def test_recomputed_frequencies_move_the_value_as_the_derivative_says(
    name: str, which: str
) -> None:
    # An item a little more than once in the corpus, N as it is: mean score and frequencies change.
    items, step = CORPORA[which], 1e-5
    metric = registry.load("metric", f"{name}(idf=recomputed)")
    psi = influence(metric, metric.measure(items))

    def moved(item: int, by: float) -> float:
        # All others a little less, so that N stays.
        size = len(items)
        times = [1 - by / size + by * (place == item) for place in range(size)]
        scores = plain_cider(items, name == "cider_d", times)
        return math.fsum(t * s for t, s in zip(times, scores, strict=True)) / size

    slopes = [(moved(i, step) - moved(i, -step)) / (2 * step) for i in range(len(items))]
    np.testing.assert_allclose(psi, slopes, atol=1e-8)


@pytest.mark.parametrize("name", CIDERS)
def test_recomputed_frequencies_give_the_spread_of_a_bootstrap_that_recomputes_them(
    name: str,
) -> None:
    corpus, draw = random_corpus(120), np.random.default_rng(3)
    fixed, recomputed = (registry.load("metric", n) for n in (name, f"{name}(idf=recomputed)"))
    pseudo = pseudo_values(recomputed, recomputed.measure(items_of(corpus)))
    values = []
    for _ in range(250):
        drawn = items_of([corpus[i] for i in draw.integers(0, len(corpus), len(corpus))])
        values.append(fixed.of(fixed.measure(drawn)))
    # The standard deviation of 250 draws is known to 4.5 %.
    assert pseudo.std() / math.sqrt(len(corpus)) == pytest.approx(np.std(values), rel=0.14)


def test_only_recomputed_frequencies_tie_the_items_together() -> None:
    fixed, recomputed = (
        registry.load("metric", f"cider_d(idf={idf})") for idf in ("fixed", "recomputed")
    )
    assert (fixed.local, recomputed.local) == (True, False)
    assert fixed.name == "cider_d"
    assert fixed.signature != recomputed.signature
    # Records that are years old are ranked by this.
    assert fixed.signature == (
        "cider_d|v1|tokenizer:ptb|n:4|sigma:6|idf:references of the scored items"
    )


def test_an_unknown_source_of_frequencies_is_refused() -> None:
    metric = registry.load("metric", "cider(idf=coco)")
    with pytest.raises(UsageError, match=r"idf: expected fixed or recomputed, got 'coco'"):
        metric.measure(items_of(random_corpus(3)))


# --- how it is counted ---------------------------------------------------------------------------

RUNS = st.sampled_from(
    ["a", "A.", "it's", "3", "3/4", "<b", "c>", "No.", "\ufdd0", "x\ufdd0y", "😀", ",", "cannot"]
)
BLANKS = st.sampled_from([" ", "  ", "\n", "\u2003"])
WRITTEN = st.lists(st.tuples(RUNS, BLANKS), max_size=6).map(lambda x: "".join(chain(*x)))


@pytest.mark.parametrize("tokenizer", ["ptb", "words"])
@given(said=st.lists(WRITTEN, min_size=1, max_size=6), true=WRITTEN)
@example(said=["\ufdd0", "3", "3 3/4 \ufdd0 a"], true="\ufdd0 \ufdd0")
@settings(max_examples=60, deadline=None)
def test_numbers_of_whole_corpora_are_the_tokens_of_each_text(
    tokenizer: str, said: list[str], true: str
) -> None:
    references = [(true,)] * len(said)
    at_once = Captions.of_texts(said, references, text.TOKENIZERS[tokenizer])
    tokens = [[text.tokenize([t], tokenizer)[0]] for (t,) in references]
    one_by_one = Captions.of(text.tokenize(said, tokenizer), tokens)
    np.testing.assert_array_equal(at_once.lengths, one_by_one.lengths)
    pairs = set(zip(at_once.tokens.tolist(), one_by_one.tokens.tolist(), strict=True))
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs})


def test_the_short_cuts_take_runs_apart_as_the_shapes_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All that is special before a full stop, all short words, and some that nobody has thought of.
    pairs, triples = product(ascii_lowercase, repeat=2), product(ascii_lowercase[:8], repeat=3)
    short = ["".join(letters) for letters in (*pairs, *triples)]
    special = [*text._ABBREVIATIONS.split("|"), *text._CAPITALISED.split("|")]
    odd = ["art", "ca", "figs", "no", "op", "pp", "prop", "phd", "cannot", "gonna", "com", "tis"]
    written = [
        f"{word}{end}" for word in [*short, *special, *odd] for end in (".", ",", "..", ".,")
    ]
    parts = [*short, *special, *odd, "is", "n't", "e", "c", "figs", "x", "com", "www", "st"]
    draw = random.Random(0)
    written += ["-".join(draw.choices(parts, k=draw.randint(2, 4))) for _ in range(2000)]
    written += ["".join(draw.choices("0123456789", k=n)) for n in range(1, 13) for _ in range(20)]
    runs = [cased for run in written for cased in (run, run.upper(), run.capitalize())]
    quick = [text._lex(run) for run in runs]
    for short_cut in ("_PLAIN", "_WHOLE"):
        monkeypatch.setattr(text, short_cut, re.compile("(?!)"))
    assert quick == [text._lex(run) for run in runs]


@pytest.mark.parametrize("name", [*CAPTION_METRICS, "cider_d(idf=recomputed)", "chrf", "sacrebleu"])
def test_working_on_fewer_items_at_a_time_changes_nothing(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = registry.load("metric", name)
    corpus = [*random_corpus(40), ("", ("", "a")), ("", ("",)), *random_corpus(3)]
    whole = metric.measure(items_of(corpus))
    for tokens, texts in ((1, 1), (30, 1000), (1000, 3)):
        monkeypatch.setattr(_captions, "_PART_TOKENS", tokens)
        monkeypatch.setattr(_captions, "_PART_TEXTS", texts)
        items = items_of(corpus)
        assert len(items.captions.parts) > 10
        np.testing.assert_allclose(metric.measure(items), whole, rtol=1e-13, atol=1e-13)


def test_counting_takes_little_memory() -> None:
    import tracemalloc

    items = items_of(random_corpus(1500))
    tokens = len(items.captions.tokens)
    tracemalloc.start()
    try:
        assert len(items.ngrams) == 4
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 150 * tokens


def test_documents_are_the_items_that_have_an_ngram_in_a_reference() -> None:
    items = items_of([("a b", ("b", "b b")), ("b", ("a b",)), ("d", ("c", "c"))])
    (single, *_) = count(items.captions, 1)
    rows = next(by_part(single, items.captions))
    word = dict(zip(items.captions.tokens.tolist(), flat_tokens(items), strict=True))
    documents = {word[n]: k for n, k in enumerate(single.documents.tolist())}
    assert documents == {"a": 1, "b": 2, "d": 0, "c": 1}
    assert rows.matched().tolist() == [1.0, 1.0, 0.0]


def flat_tokens(items: TextItems) -> list[str]:
    pairs = zip(items.tokens, items.reference_tokens, strict=True)
    return [token for said, true in pairs for tokens in (said, *true) for token in tokens]


def test_long_and_short_captions_take_the_same_subsequences() -> None:
    # Beyond 64 tokens another implementation takes over: it must agree where both apply.
    captions = items_of(random_corpus(60)).captions
    fast = lcs(captions)
    for place, item in enumerate(captions.item):
        tokens = [
            captions.tokens[captions.starts[t] :][: captions.lengths[t]].tolist()
            for t in (captions.first[item], place)
        ]
        assert fast[place] == _long(*tokens)


def test_keys_too_wide_to_pack_are_sorted_just_the_same() -> None:
    draw = np.random.default_rng(0)
    key, places = draw.integers(0, 50, 500), draw.permutation(500)
    places.sort()
    narrow, wide = _sort(key, places, 500), _sort(key + (1 << 60), places, 500)
    np.testing.assert_array_equal(narrow[0], wide[0])
    np.testing.assert_array_equal(narrow[1], wide[1] - (1 << 60))


# --- do the intervals hold what they promise? ----------------------------------------------------


def covers(values: Floats, truth: float) -> bool:
    """Say whether the interval of pseudo-values [S, N] or [N] covers the truth."""
    found = crossed.interval(values)
    return found.low <= truth <= found.high


def bleu_population(draw: np.random.Generator, seeds: Floats, items: int) -> Floats:
    """Return BLEU's statistics [S, N, 10] of models of unequal skill on items of unequal ease."""
    length = 5 + draw.poisson(6, size=items)
    ease = draw.normal(0, 0.6, size=items)
    shape = (len(seeds), items)
    skill = 0.4 + seeds[:, None] + ease + draw.normal(0, 0.3, size=shape)
    said = np.maximum(length + draw.integers(-2, 2, size=shape), 0)
    columns, matched = [], said
    for n in range(1, 5):
        chance = 1 / (1 + np.exp(-skill + 0.3 * (n - 1)))
        matched = draw.binomial(np.minimum(matched, np.maximum(said - n + 1, 0)), chance)
        columns.append(matched)
    columns += [np.maximum(said - n + 1, 0) for n in range(1, 5)]
    columns += [said, np.broadcast_to(length, shape)]
    return np.stack(columns, axis=-1).astype(np.float64)


def bleu_coverage(name: str, spread: float, size: tuple[int, int], repeats: int) -> float:
    """Return how often the interval of BLEU covers the mean of all seeds on all items."""
    metric, draw = registry.load("metric", name), np.random.default_rng(5)
    skills = spread * np.array([-1.64, -1.04, -0.67, -0.39, -0.13, 0.13, 0.39, 0.67, 1.04, 1.64])
    rows = bleu_population(draw, skills, 40_000)
    truth = float(metric.of_sums(rows.sum(axis=1)).mean())
    hits = 0
    for _ in range(repeats):
        seeds = draw.choice(skills, size=size[0])
        stats = bleu_population(draw, seeds, size[1])
        hits += covers(np.stack([pseudo_values(metric, of_seed) for of_seed in stats]), truth)
    return hits / repeats


#: Within three standard errors of 93 to 97 %: what so few repeats can tell.
def holds(coverage: float, repeats: int) -> bool:
    slack = 3 * math.sqrt(0.95 * 0.05 / repeats)
    return 0.93 - slack <= coverage <= 0.97 + slack


@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (5, 0.2)])
def test_the_interval_of_bleu_covers_what_it_says(seeds: int, spread: float) -> None:
    assert holds(bleu_coverage("bleu4", spread, (seeds, 150), 300), 300)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bleu1", "bleu4", "sacrebleu"])
@pytest.mark.parametrize(("seeds", "spread"), [(1, 0.0), (5, 0.0), (5, 0.1), (5, 0.3), (8, 0.2)])
@pytest.mark.parametrize("items", [60, 400])
def test_the_interval_of_bleu_covers_93_to_97_percent(
    name: str, seeds: int, spread: float, items: int
) -> None:
    repeats = 4000 if spread > 0.2 else 1500  # close to 97 %: seeds differ more than items do
    assert 0.93 <= bleu_coverage(name, spread, (seeds, items), repeats) <= 0.97


def cider_coverage(name: str, size: tuple[int, int], repeats: int) -> float:
    """Return how often the interval of CIDEr covers its expectation over models and items.

    The frequencies come from the items drawn, as they do in use.
    """
    metric, draw = registry.load("metric", name), np.random.default_rng(6)
    corpus, models = random_corpus(1500), range(10)
    said = [
        [worsened(s, 0.05 + 0.01 * m, f"{m} {i}") for i, (s, _) in enumerate(corpus)]
        for m in models
    ]
    found = []
    for _ in range(repeats):
        index = draw.integers(0, len(corpus), size[1])
        # One model's interval is about its own weights; several are drawn like the items.
        chosen = draw.integers(0, 10, size[0]) if size[0] > 1 else [0]
        references = TextReferences([corpus[i][1] for i in index])
        scored = [prepare([said[m][i] for i in index], references) for m in chosen]
        found.append(np.stack([pseudo_values(metric, metric.measure(items)) for items in scored]))
    truth = float(np.mean([pseudo.mean() for pseudo in found]))
    return sum(covers(pseudo, truth) for pseudo in found) / repeats


def worsened(caption: str, chance: float, seed: str) -> str:
    """Replace some words of a caption by others."""
    draw = random.Random(seed)
    return " ".join(
        f"w{draw.randrange(20)}" if draw.random() < chance else word for word in caption.split()
    )


def test_the_interval_of_cider_covers_what_it_says() -> None:
    assert holds(cider_coverage("cider_d", (1, 100), 250), 250)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*CIDERS, "cider_d(idf=recomputed)"])
@pytest.mark.parametrize("size", [(1, 100), (1, 400), (5, 100)])
def test_the_interval_of_cider_covers_93_to_97_percent(name: str, size: tuple[int, int]) -> None:
    assert 0.93 <= cider_coverage(name, size, 1000) <= 0.97
