"""Error rates equal jiwer's exactly, and hold where jiwer and others have nothing to say."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmbench import registry
from mmbench.errors import UnknownNameError, UsageError
from mmbench.metrics import Metric, TextItems, _edits, influence, perfect, prepare, speech
from mmbench.metrics._influence import _differences
from mmbench.normalise import NORMALIZERS, normalise
from mmbench.references import Said, TextReferences
from mmbench.scoring import combine, score
from mmbench.types import Floats, Predictions

WORD_METRICS = (
    "wer", "mer", "wil", "wip", "substitution_rate", "deletion_rate", "insertion_rate",
)  # fmt: skip
KINDS = ("substitution", "deletion", "insertion")
METRICS = (*WORD_METRICS, "cer", *(f"character_{kind}_rate" for kind in KINDS))

# --- jiwer, on items -----------------------------------------------------------------------------


def spaced(text: str) -> str:
    """Make all white space single blanks: where a word ends, we and jiwer then agree."""
    return " ".join(text.split())


def closest(items: TextItems, process: Callable[[str, str], jiwer.WordOutput]) -> list[str]:
    """Return each item's closest reference, found by asking jiwer about one after the other."""
    found = []
    for said, texts in zip(items.predictions, items.references, strict=True):
        outputs = [process(text, said) for text in texts]
        edits = [o.substitutions + o.deletions + o.insertions for o in outputs]
        lengths = [o.hits + o.substitutions + o.deletions for o in outputs]
        found.append(min(zip(edits, [-n for n in lengths], range(len(texts)), strict=True))[2])
    return [texts[place] for texts, place in zip(items.references, found, strict=True)]


def words_of(reference: str | list[str], said: str | list[str]) -> jiwer.WordOutput:
    sides = [[spaced(t) for t in ([x] if isinstance(x, str) else x)] for x in (reference, said)]
    return jiwer.process_words(*sides)


def word_output(items: TextItems) -> jiwer.WordOutput:
    return words_of(closest(items, words_of), list(items.predictions))


def word_measure(name: str, items: TextItems) -> float:
    return float(getattr(word_output(items), name))


def character_output(items: TextItems) -> jiwer.CharacterOutput:
    texts = closest(items, jiwer.process_characters)
    return jiwer.process_characters(texts, list(items.predictions))


def rate_of(count: str, output: Callable[[TextItems], Any], items: TextItems) -> float:
    found = output(items)
    return float(getattr(found, count) / (found.hits + found.substitutions + found.deletions))


def character_error_rate(items: TextItems) -> float:
    return float(character_output(items).cer)


#: Metric -> its value of items by an independent implementation.
REFERENCES: dict[str, Callable[[TextItems], float]] = {
    **{name: partial(word_measure, name) for name in ("wer", "mer", "wil", "wip")},
    **{f"{kind}_rate": partial(rate_of, f"{kind}s", word_output) for kind in KINDS},
    "cer": character_error_rate,
    **{f"character_{k}_rate": partial(rate_of, f"{k}s", character_output) for k in KINDS},
}

# --- corpora -------------------------------------------------------------------------------------

NASTY = (
    "A", "a", "dog", "Dog", "isn't", "naïve", "日本", "½", "?!", "<unk>", "😀", "e\u0301", "é",
    "x" * 90, "\ud800", "\x00", "a\u200bb", "ß", "1,000",
)  # fmt: skip
BLANKS = (" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u3000", " \t ", "\x85", "\x1c")


def corpus(
    seed: int,
    items: int,
    words: Sequence[str],
    lengths: tuple[int, int],
    references: int = 1,
    blanks: Sequence[str] = (" ",),
    wrong: float = 0.3,
) -> TextItems:
    """Draw references, and predictions that hear them with some words wrong, lost or doubled."""
    draw = random.Random(seed)

    def text(tokens: Sequence[str]) -> str:
        apart = [token + draw.choice(blanks) for token in tokens]
        edge = draw.choice(["", *blanks]) if len(blanks) > 1 else ""
        return edge + "".join(apart).removesuffix("" if len(blanks) > 1 else " ")

    def heard(tokens: Sequence[str]) -> list[str]:
        said: list[str] = []
        for token in tokens:
            chance = draw.random() / wrong
            said += [draw.choice(words)] if chance < 0.6 else [token] if chance > 0.8 else []
            said += [draw.choice(words)] if draw.random() < wrong / 5 else []
        return said

    predictions, truth = [], []
    for _ in range(items):
        texts = [draw.choices(words, k=draw.randint(*lengths)) for _ in range(references)]
        nothing = draw.random() < 0.05
        predictions.append("" if nothing else text(heard(draw.choice(texts))))
        truth.append(tuple(text(tokens) for tokens in texts))
    return prepare(predictions, TextReferences(truth))


LETTERS = list("abcdefgh")
CORPORA = {
    "ordinary": corpus(0, 80, [f"w{i}" for i in range(60)], (3, 25)),
    "two words": corpus(1, 200, ["a", "b"], (0, 12), wrong=0.6),
    "several references": corpus(2, 80, LETTERS, (0, 9), references=4, wrong=0.5),
    "nasty": corpus(3, 80, NASTY, (0, 10), references=2, blanks=BLANKS),
    "longer than 64": corpus(4, 12, LETTERS, (60, 300), wrong=0.5),
    "nothing right": prepare(["x y", "", "z z z"], TextReferences([("a",), ("b c",), ("d e f",)])),
    "empty references": prepare(["x y", "", "a"], TextReferences([("",), ("", " "), ("a b",)])),
}


def of(name: str, items: TextItems) -> float:
    metric = registry.load("metric", name)
    return metric.of(metric.measure(items))


def items_of(*pairs: tuple[str, str | tuple[str, ...]]) -> TextItems:
    texts = [(true,) if isinstance(true, str) else true for _, true in pairs]
    return prepare([said for said, _ in pairs], TextReferences(texts))


# --- parity --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("which", CORPORA)
def test_a_rate_equals_jiwers_exactly(name: str, which: str) -> None:
    assert of(name, CORPORA[which]) == REFERENCES[name](CORPORA[which])


@pytest.mark.parametrize("which", CORPORA)
def test_substitutions_deletions_and_insertions_of_every_item_are_jiwers(which: str) -> None:
    items = CORPORA[which]
    rows = speech.wer.measure(items)
    pairs = zip(closest(items, words_of), items.predictions, strict=True)
    expected = [
        (found.substitutions, found.deletions, found.insertions, found.hits)
        for found in (words_of(true, said) for true, said in pairs)
    ]
    np.testing.assert_array_equal(rows, expected)


@pytest.mark.parametrize("which", CORPORA)
def test_edits_in_characters_of_every_item_are_jiwers(which: str) -> None:
    items = CORPORA[which]
    rows = speech.character_insertion_rate.measure(items)
    pairs = zip(closest(items, jiwer.process_characters), items.predictions, strict=True)
    expected = [
        (found.substitutions, found.deletions, found.insertions, found.hits)
        for found in (jiwer.process_characters(true, said) for true, said in pairs)
    ]
    np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(rows[:, :3].sum(axis=1), speech.cer.measure(items)[:, 0])


@pytest.mark.parametrize("name", ["wer", "wil", "cer"])
def test_on_ordinary_blanks_a_rate_is_what_jiwer_says_by_default(name: str) -> None:
    items = CORPORA["ordinary"]
    texts = [texts[0] for texts in items.references]
    assert of(name, items) == getattr(jiwer, name)(texts, list(items.predictions))


def test_normalised_as_jiwer_standardises_the_rate_is_jiwers() -> None:
    phrases = ["I won't", "She's [cough] HERE", "<unk>", "let's  go", "he'd can't", "dogs", "'twas"]
    items = corpus(5, 60, phrases, (1, 9))
    texts, said = [texts[0] for texts in items.references], list(items.predictions)
    transform = jiwer.transformations.wer_standardize
    assert of("wer(normalizer=jiwer)", items) == jiwer.wer(texts, said, transform, transform)
    assert of("wer(normalizer=jiwer)", items) != of("wer", items)


@pytest.mark.parametrize("name", ["wer", "cer"])
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_normaliser_is_applied_to_both_sides_before_anything_else(
    name: str, normalizer: str
) -> None:
    items = corpus(6, 40, ["It's", "Dr.", "uh", "café", "(x)", "1,000", "gonna", "dog"], (1, 8), 2)
    texts = [tuple(normalise(texts, normalizer)) for texts in items.references]
    plain = prepare(normalise(items.predictions, normalizer), TextReferences(texts))
    assert of(f"{name}(normalizer={normalizer})", items) == REFERENCES[name](plain)


WORDS = st.lists(st.sampled_from("abc"), max_size=12).map(" ".join)


@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=20))
@example(pairs=[("b c", "a b")])
@example(pairs=[("a b", "b c")])
@settings(max_examples=200, deadline=None)
def test_where_several_alignments_are_best_ours_is_jiwers(pairs: list[tuple[str, str]]) -> None:
    said, true = map(list, zip(*pairs, strict=True))
    rows = _edits.word_edits(said, true, np.ones(len(pairs), dtype=np.int64))
    for row, (ours, theirs) in zip(rows.tolist(), pairs, strict=True):
        found = jiwer.process_words(theirs, ours)
        assert row == [found.substitutions, found.deletions, found.insertions, found.hits]


def test_thousands_of_words_are_aligned_as_jiwer_does() -> None:
    draw = random.Random(0)
    true, said = (" ".join(draw.choices(LETTERS, k=n)) for n in (6000, 5000))
    found = jiwer.process_words(true, said)
    row = speech.wer.measure(items_of((said, true), ("", "")))[0].tolist()
    assert row == [found.substitutions, found.deletions, found.insertions, found.hits]


@given(texts=st.lists(st.text(st.sampled_from("ab\x00é\ud800" + "".join(BLANKS))), min_size=1))
@settings(max_examples=200, deadline=None)
def test_a_word_is_what_python_splits_at_white_space(texts: list[str]) -> None:
    words, lengths = _edits._as_characters(texts)
    split = [text.split() for text in texts]
    assert lengths.tolist() == [len(tokens) for tokens in split]
    for one, tokens in zip(words, split, strict=True):
        for other, others in zip(words, split, strict=True):
            assert (one == other) == (tokens == others)


def test_all_white_space_that_python_knows_parts_words() -> None:
    text = "a".join(chr(code) for code in range(0x110000) if chr(code).isspace())
    words, lengths = _edits._as_characters([text])
    assert lengths.tolist() == [len(text.split())]
    assert len(set(words[0])) == 1


def test_more_words_than_characters_below_the_surrogates_stay_apart() -> None:
    tokens = [f"{i:x}" for i in range(60_000)]
    items = items_of((" ".join(tokens), " ".join(tokens[1:])), ("dffe dfff", "d800 dfff"))
    assert speech.wer.measure(items).tolist() == [[0, 0, 1, 59_999], [1, 0, 0, 1]]


def test_more_words_than_there_are_characters_are_compared_as_numbers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    items = CORPORA["ordinary"]
    expected = speech.wer.measure(items)
    monkeypatch.setattr(_edits, "_ALPHABET", 10)
    words, _ = _edits._as_characters(items.predictions)
    assert isinstance(words[0], list)
    np.testing.assert_array_equal(speech.wer.measure(items), expected)


@pytest.mark.parametrize("size", [1, 50, 1000])
@pytest.mark.parametrize("which", CORPORA)
def test_the_size_of_a_chunk_changes_nothing(
    which: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = speech.wer.measure(CORPORA[which])
    monkeypatch.setattr(_edits, "_CHUNK", size)
    np.testing.assert_array_equal(speech.wer.measure(CORPORA[which]), expected)


# --- what others get wrong -----------------------------------------------------------------------


def test_the_rate_is_of_the_corpus_and_not_the_mean_of_utterances() -> None:
    # HELM averages utterances: one word wrong in one weighs as much as nine right in nine.
    items = items_of(("x", "a"), ("b c d e f g h i j", "b c d e f g h i j"))
    utterances = [
        jiwer.wer(texts[0], said)
        for texts, said in zip(items.references, ["x", "b c d e f g h i j"], strict=True)
    ]
    assert np.mean(utterances) == 0.5
    assert of("wer", items) == 1 / 10


@pytest.mark.parametrize("nothing", ["", "  ", "\n", None])
def test_an_empty_prediction_is_all_deletions(nothing: str | None) -> None:
    # HELM returns 0 here, a perfect score.
    items = prepare([nothing, "d"], TextReferences([("a b c",), ("d",)]))
    assert speech.wer.measure(items)[0].tolist() == [0, 3, 0, 0]
    assert of("wer", items) == 3 / 4
    assert of("deletion_rate", items) == 3 / 4
    assert of("cer", items) == 5 / 6


@pytest.mark.parametrize("unit", ["", "character_"])
def test_a_missing_prediction_is_no_way_to_fewer_errors_of_a_kind(unit: str) -> None:
    truth = TextReferences([("a b",), ("c d",)])
    there, gone = (prepare([said, "c x y"], truth) for said in ("z", None))
    assert of(f"{unit}deletion_rate", gone) > of(f"{unit}deletion_rate", there)
    for name in ("substitution", "insertion"):
        of(f"{unit}{name}_rate", there)
        with pytest.raises(UsageError, match="1 items have no prediction, and a text that is not"):
            of(f"{unit}{name}_rate", gone)


@pytest.mark.parametrize("name", ["wer", "cer", "insertion_rate", "mer", "wil"])
@pytest.mark.parametrize("clusters", [None, [k // 4 for k in range(40)]])
def test_no_error_at_all_leaves_doubt(name: str, clusters: list[int] | None) -> None:
    texts = [f"w{k} x y" for k in range(40)]
    rows = registry.load("metric", name).measure(
        prepare(texts, TextReferences([(t,) for t in texts]))
    )
    found = combine(name, [rows], clusters)
    assert (found.value, found.low) == (0, 0)
    # By the rule of three, up to 3 / 40 items (or of 10 clusters 3 / 10) may yet be wrong.
    assert (0.05 if clusters is None else 0.2) < found.high < (0.15 if clusters is None else 0.6)


def test_saying_nothing_at_all_is_the_rate_one() -> None:
    items = items_of(("", "a b c"), ("", "d"))
    expected = {"wer": 1, "mer": 1, "wil": 1, "wip": 0, "deletion_rate": 1, "cer": 1}
    assert {name: of(name, items) for name in expected} == expected


def test_the_rate_has_no_upper_bound() -> None:
    items = items_of(("x y z x y z", "a"), ("b", "b"))
    assert of("wer", items) == 3.0
    assert speech.wer.bounds == (0.0, None)
    assert not speech.wer.higher_is_better


def test_what_was_heard_in_silence_counts_as_insertions() -> None:
    items = items_of(("x y", ""), ("a b", "a b"), ("", ""))
    assert speech.wer.measure(items).tolist() == [[0, 0, 2, 0], [0, 0, 0, 2], [0, 0, 0, 0]]
    assert of("wer", items) == 1.0
    assert of("cer", items) == 1.0


@pytest.mark.parametrize("name", METRICS)
def test_references_without_a_word_are_refused(name: str) -> None:
    items = items_of(("x y", " "), ("", ("", "\n")))
    with pytest.raises(UsageError, match=rf"'{name}': no reference .* has a (word|character), and"):
        registry.load("metric", name).measure(items)


@pytest.mark.parametrize("name", ["wer", "cer"])
def test_references_without_a_word_left_are_refused(name: str) -> None:
    items = items_of(("x y", "[noise]"), ("", "(um)"))
    with pytest.raises(UsageError, match="that the normaliser 'english' leaves"):
        registry.load("metric", f"{name}(normalizer=english)").measure(items)
    assert of(name, items) > 0


@pytest.mark.parametrize("name", ["wer", "cer"])
def test_where_every_closest_reference_is_empty_the_rate_is_refused(name: str) -> None:
    # Nothing would stand below the line, and two surplus words be no error.
    items = items_of(("", ("", "a b")), ("x", ("", "c d e")))
    with pytest.raises(UsageError, match="no reference that a prediction was compared with"):
        registry.load("metric", name).measure(items)


def test_a_part_of_a_corpus_without_a_word_counts_its_insertions_as_jiwer_does() -> None:
    rows = speech.wer.measure(items_of(("x y", ""), ("a", "a"), ("", "")))
    assert speech.wer.of(rows[[0, 2]]) == jiwer.wer(["", ""], ["x y", ""]) == 2
    assert speech.wer.of(rows[[2]]) == 0
    assert [m.of(rows[[2]]) for m in (speech.wil, speech.wip, speech.mer)] == [0, 1, 0]
    assert [m.of(rows[[0]]) for m in (speech.wil, speech.wip, speech.mer)] == [1, 0, 1]


# --- several references --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "references", "row"),
    [
        ("a b", ("x y z", "a b c", "a c"), [0, 1, 0, 2]),  # one edit twice: the longer
        ("a b", ("a c", "c b"), [1, 0, 0, 1]),
        ("a b c", ("d", "a b c"), [0, 0, 0, 3]),
        ("", ("", "a"), [0, 0, 0, 0]),
        ("b c", ("a b", "c d"), [2, 0, 0, 0]),  # equally long too: the first
        ("b c", ("c d", "a b"), [0, 1, 1, 1]),
    ],
)
def test_the_closest_reference_counts(
    said: str, references: tuple[str, ...], row: list[int]
) -> None:
    items = items_of((said, references), ("z", "z"))
    assert speech.wer.measure(items)[0].tolist() == row


def test_characters_choose_their_own_closest_reference() -> None:
    items = items_of(("abcd x", ("abce y", "abcdefgh x")))
    assert speech.wer.measure(items).tolist() == [[1, 0, 0, 1]]
    assert speech.cer.measure(items).tolist() == [[2, 6]]


def test_a_copy_of_a_reference_reaches_the_bound() -> None:
    for which, items in CORPORA.items():
        references = TextReferences(items.references)
        right = prepare(perfect(references), references)
        for name in METRICS:
            metric = registry.load("metric", name)
            best = metric.bounds[1 if metric.higher_is_better else 0]
            assert metric.of(metric.measure(right)) == best, (which, name)


# --- properties ----------------------------------------------------------------------------------

TEXT = st.lists(st.sampled_from(["a", "b", "c", "Dog", "it's", "😀"]), max_size=7).map(" ".join)
ITEM = st.tuples(TEXT, st.lists(TEXT, min_size=1, max_size=3).map(tuple))
CORPUS = st.lists(ITEM, min_size=1, max_size=8).map(lambda items: [*items, ("a b", ("a b c",))])


@pytest.mark.parametrize("name", METRICS)
@given(pairs=CORPUS, order=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_and_repetition_of_the_items_do_not_matter_and_bounds_hold(
    name: str,
    pairs: list[tuple[str, tuple[str, ...]]],
    order,  # type: ignore[no-untyped-def]
) -> None:
    value = of(name, items_of(*pairs))
    shuffled = list(pairs)
    order.shuffle(shuffled)
    assert of(name, items_of(*shuffled)) == value
    assert of(name, items_of(*pairs, *pairs)) == pytest.approx(value, rel=1e-14)
    low, high = registry.load("metric", name).bounds
    assert low <= value <= (np.inf if high is None else high)


def random_sums(metric: Metric, seed: int) -> Floats:
    return np.random.default_rng(seed).integers(1, 500, len(metric.columns)).astype(np.float64)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("seed", range(3))
def test_gradients_are_those_by_differences(name: str, seed: int) -> None:
    metric = registry.load("metric", name)
    sums = random_sums(metric, seed)
    by_differences = _differences(metric.of_sums, sums, sums)
    np.testing.assert_allclose(metric.gradient(sums), by_differences, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", METRICS)
def test_influence_agrees_with_leaving_each_item_out(name: str) -> None:
    metric = registry.load("metric", name)
    rows = metric.measure(corpus(7, 400, [f"w{i}" for i in range(60)], (3, 25)))
    total = rows.sum(axis=0)
    dropped = metric.of_sums(total) - metric.of_sums(total - rows)
    psi = influence(metric, rows)
    assert abs(psi.sum()) < 1e-12
    np.testing.assert_allclose(psi, dropped, atol=0.02 * np.abs(psi).max())
    assert np.corrcoef(psi, dropped)[0, 1] > 0.9999


def test_without_a_hit_the_gradient_of_word_information_is_finite() -> None:
    sums = np.array([3.0, 1.0, 2.0, 0.0])
    assert speech.wip.gradient is not None
    np.testing.assert_array_equal(speech.wip.gradient(sums), np.zeros(4))


# --- names, options, signature -------------------------------------------------------------------


def test_the_rates_of_words_share_their_rows_and_those_of_characters_have_their_own() -> None:
    assert {registry.load("metric", name).family for name in WORD_METRICS} == {"wer"}
    assert registry.load("metric", "cer").family == "cer"
    assert registry.load("metric", "mer(normalizer=english)").family == "wer(normalizer=english)"


def test_the_signature_names_normaliser_and_version() -> None:
    assert speech.wer.signature == (
        "wer|v1|words:split at white space|average:micro|references:fewest edits|normalizer:none"
    )
    asked = registry.load("metric", "cer(normalizer=english)")
    assert asked.signature.endswith("|normalizer:english")


def test_a_normaliser_that_nobody_knows_is_refused_with_those_there_are() -> None:
    metric = registry.load("metric", "wer(normalizer=englsh)")
    with pytest.raises(UnknownNameError, match=r"normaliser 'englsh'.*did you mean 'english'"):
        metric.measure(CORPORA["ordinary"])


def test_one_corpus_with_two_normalisers_is_scored_at_once() -> None:
    references = {"text": TextReferences([("I won't go.",), ("Right!",)])}
    said = Predictions(["1", "2"], {"text": ["i will not go", "right"]})
    names = ["wer", "wer(normalizer=english)", "cer", "cer(normalizer=english)"]
    scored = score(said, references, "text", names)
    assert [scored.scores[name].value for name in names] == [5 / 4, 0.0, 9 / 17, 0.0]
    assert set(scored.statistics) == set(names)


def test_ids_of_said_do_not_change_what_is_counted() -> None:
    said = Said(["b", "a"], ["x", None], {})
    rows = speech.wer.measure(prepare(said, TextReferences([("x",), ("y z",)])))
    assert rows.tolist() == [[0, 0, 0, 1], [0, 2, 0, 0]]


# --- speakers, intervals -------------------------------------------------------------------------


def test_the_rate_of_a_speaker_is_that_of_the_speakers_rows() -> None:
    items = CORPORA["ordinary"]
    speakers = np.array([f"s{item % 3}" for item in range(len(items))])
    rows = speech.wer.measure(items)
    for speaker in ("s0", "s1", "s2"):
        own = np.flatnonzero(speakers == speaker)
        texts = [items.references[item][0] for item in own]
        said = [items.predictions[item] for item in own]
        assert speech.wer.of(rows[own]) == jiwer.wer(texts, said)


def test_speakers_who_differ_widen_the_interval() -> None:
    draw = np.random.default_rng(0)
    speakers = np.repeat(np.arange(20), 20)
    wrong = draw.binomial(20, np.repeat(draw.uniform(0, 0.6, 20), 20))
    rows = np.stack([wrong, 0 * wrong, 0 * wrong, 20 - wrong], axis=1).astype(np.float64)
    alone, together = combine("wer", [rows]), combine("wer", [rows], clusters=speakers.tolist())
    assert alone.value == together.value
    assert together.se > 3 * alone.se


def hear(draw: np.random.Generator, seeds: int, speakers: Sequence[int]) -> list[Floats]:
    """Draw rows of utterances, for each of some seeds, from where the true WER is `TRUTH`.

    Utterances differ in length and difficulty, speakers in difficulty, seeds in skill. A single
    seed is of average skill: its interval is about further utterances only.
    """
    items = len(speakers)
    words = 3 + draw.poisson(12, items)
    of_speaker = draw.uniform(0.6, 1.4, max(speakers) + 1)[list(speakers)]
    difficulty = draw.beta(4, 24, items) * of_speaker
    rows = []
    for skill in draw.normal(1, 0.08, seeds) if seeds > 1 else [1.0]:
        wrong = np.minimum(difficulty * skill, 1.0)
        missed = draw.binomial(words, wrong)
        deleted = draw.binomial(missed, 0.3)
        inserted = draw.poisson(0.2 * words * wrong)
        row = np.stack([missed - deleted, deleted, inserted, words - missed], axis=1)
        rows.append(row.astype(np.float64))
    return rows


#: Errors per word: the mean difficulty, and a fifth of it more in insertions.
TRUTH = 1.2 * 4 / 28


def coverage(times: int, seeds: int, items: int, speakers: int | None = None) -> float:
    draw = np.random.default_rng([times, seeds, items, speakers or 0])
    whose = [item % (speakers or items) for item in range(items)]
    within = 0
    for _ in range(times):
        found = combine("wer", hear(draw, seeds, whose), whose if speakers else None)
        within += found.low <= TRUTH <= found.high
    return within / times


@pytest.mark.parametrize(
    ("seeds", "items", "speakers"),
    [(1, 60, None), (1, 300, None), (5, 300, None), (1, 400, 40), (5, 400, 40)],
)
def test_the_interval_covers_the_truth_as_often_as_it_says(
    seeds: int, items: int, speakers: int | None
) -> None:
    assert 0.93 <= coverage(2000, seeds, items, speakers) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("seeds", [1, 5, 10])
@pytest.mark.parametrize("items", [60, 300])
@pytest.mark.parametrize("speakers", [None, 30])
def test_the_interval_covers_the_truth_in_many_more_trials(
    seeds: int, items: int, speakers: int | None
) -> None:
    assert 0.93 <= coverage(4000, seeds, items, speakers) <= 0.97
