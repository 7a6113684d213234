"""Exact search and exact sums: against enumeration, what is drawn, and known figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, speech
from mmbench.data._contract import Request
from mmbench.data.speech import features, grammar, lexicon, proven, sentences, templates, timing
from mmbench.data.speech.grammar import Grammar
from mmbench.data.speech.lexicon import NONE
from mmbench.data.speech.oracle import evidence_of, led
from mmbench.data.speech.search import Evidence, forward, viterbi
from mmbench.errors import UsageError
from mmbench.references import TextReferences
from mmbench.scoring import score
from mmbench.types import Predictions, Split

Make: TypeAlias = Callable[..., Split]
BOTH = frozenset({"audio", "video"})
ALL = BOTH | {"text"}
STAY, MOVE = timing.STAY, 1.0 - timing.STAY


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a test split: structure, size, parameters."""

    def made(name: str, items: int, **params: Any) -> Split:
        fields = {"structure": name, **params}
        request = Request("task", speech.VERSION, 11, fields, {"test": items}, None, tmp_path)
        return speech.build(request).splits["test"]

    return made


def wer(split: Split, said: Predictions) -> float:
    (output,) = split.references
    return float(score(said, split.references, output, ["wer"], ids=split.ids).scores["wer"].value)


def evidence(seed: int, lengths: list[int], scale: float = 2.0) -> Evidence:
    drawn = np.random.default_rng(seed).normal(size=(len(lengths), max(lengths), 49)) * scale
    return Evidence(drawn, np.array(lengths))


# --- against enumeration -------------------------------------------------------------------------


def every_path(words: tuple[int, ...], frames: int) -> Iterator[tuple[list[int], float]]:
    """Yield every path of states through `words` that takes so many frames, and its log-chance."""
    states = [1 + 4 * word + s for word in words for s in range(4)]
    for cuts in combinations(range(1, frames), len(states) - 1):
        lasts = [b - a for a, b in zip((0, *cuts), (*cuts, frames), strict=True)]
        path = [state for state, n in zip(states, lasts, strict=True) for _ in range(n)]
        yield path, (frames - len(states)) * np.log(STAY) + len(states) * np.log(MOVE)


@pytest.mark.parametrize("seed", range(4))
def test_search_and_sum_are_those_over_all_sentences_and_all_their_paths(seed: int) -> None:
    table = np.random.default_rng(seed).dirichlet(np.ones(3), size=3)
    law = grammar.bigram(table, 1, 2)
    listed, chances = grammar.sentences(law)
    assert len(listed) == 3 + 9
    given = evidence(seed, [15, 17])
    words, best = viterbi(given, law)
    total = forward(given, law)
    for item, length in enumerate(given.lengths.tolist()):
        x = given.frames[item]
        inside = length - 2 * timing.REST
        rest = x[: timing.REST, 0].sum() + x[length - timing.REST : length, 0].sum()
        found: list[tuple[float, tuple[int, ...]]] = []
        for sentence, chance in zip(listed, chances, strict=True):
            for path, weight in every_path(sentence, inside):
                seen = x[np.arange(timing.REST, length - timing.REST), path].sum()
                found.append((float(np.log(chance) + weight + seen + rest), sentence))
        top, sentence = max(found)
        assert best[item] == pytest.approx(top, abs=1e-9)
        assert tuple(w for w in words[item].tolist() if w != NONE) == sentence
        assert total[item] == pytest.approx(np.logaddexp.reduce([f for f, _ in found]), abs=1e-9)


def sentence_sums(x: np.ndarray, length: int, listed: list[tuple[int, ...]]) -> np.ndarray:
    """Return the log-likelihood of each sentence, by one recursion over time for each."""
    found = []
    for size in sorted({len(sentence) for sentence in listed}):
        group = np.array([s for s in listed if len(s) == size])
        states = (1 + 4 * group[..., None] + np.arange(4)).reshape(len(group), -1)
        alpha = np.full(states.shape, -np.inf)
        alpha[:, 0] = x[timing.REST][states[:, 0]]
        for time in range(timing.REST + 1, length - timing.REST):
            shifted = np.concatenate([np.full((len(group), 1), -np.inf), alpha[:, :-1]], axis=1)
            alpha = np.logaddexp(alpha + np.log(STAY), shifted + np.log(MOVE)) + x[time][states]
        found += list(zip(map(tuple, group.tolist()), alpha[:, -1] + np.log(MOVE), strict=True))
    by = dict(found)
    rest = x[: timing.REST, 0].sum() + x[length - timing.REST : length, 0].sum()
    return np.array([by[sentence] for sentence in listed]) + rest


@pytest.mark.parametrize(
    ("name", "law"),
    [("clauses", grammar.clauses()), ("lamp", grammar.request(0)), ("none", grammar.request(NONE))],
    ids=["clauses", "telling", "fillers"],
)
def test_the_sum_is_that_over_every_sentence_of_a_grammar(name: str, law: Grammar) -> None:
    listed, chances = grammar.sentences(law)
    assert chances.sum() == pytest.approx(1.0)
    given = evidence(3, [38], 0.7)
    each = sentence_sums(given.frames[0], 38, listed) + np.log(chances)
    assert forward(given, law)[0] == pytest.approx(np.logaddexp.reduce(each), abs=1e-8), name


def test_a_telling_word_stands_anywhere_as_likely() -> None:
    listed, chances = grammar.sentences(grammar.request(3))
    found: dict[tuple[int, int], float] = {}
    for sentence, chance in zip(listed, chances, strict=True):
        key = (len(sentence), sentence.index(3))
        found[key] = found.get(key, 0.0) + float(chance)
    assert len(found) == 3 + 4 + 5 + 6
    for (length, _), chance in found.items():
        assert chance == pytest.approx(1 / 4 / length)


def test_drawn_sentences_are_as_likely_as_the_grammar_says() -> None:
    law = grammar.bigram(np.array([[0.7, 0.3], [0.1, 0.9]]), 1, 3)
    listed, chances = grammar.sentences(law)
    drawn = grammar.draw(law, np.random.default_rng(1).random((20_000, 6)))
    rows = [tuple(w for w in row if w != NONE) for row in drawn.tolist()]
    for sentence, chance in zip(listed, chances, strict=True):
        assert rows.count(sentence) / 20_000 == pytest.approx(chance, abs=0.012)
    # The last number below 1 chooses nothing that has no chance.
    assert set(map(tuple, grammar.draw(law, np.full((1, 6), 1 - 2**-53)).tolist())) <= {
        (*sentence, *[NONE] * (6 - len(sentence))) for sentence in listed
    }


def test_lips_that_lead_are_brought_to_the_time_of_the_voice() -> None:
    rng = np.random.default_rng(2)
    words = sentences.draw(1, "x", 30, "words").words
    states, lengths = timing.paths(words, timing.durations(words, rng.random((30, 6, 4))))
    seen = rng.normal(size=(30, timing.FRAMES, 49))
    for lead in range(4):
        shown = timing.moved(states, np.full(30, lead))
        moved = led(seen, lengths, lead)
        for item, length in enumerate(lengths):
            time = np.arange(length)
            direct = seen[item][time, shown[item, :length]].sum()
            # The voice's first frames, before the clip, are rest, which the lips do not show.
            assert moved[item][time, states[item, :length]].sum() == pytest.approx(direct)


def test_the_posterior_of_a_request_is_bayes_rule_written_out(make: Make) -> None:
    split = make("intent", 6, snr_db=-8.0, asynchrony_ms=40)
    known = sentences.typed_words("intent")
    lists = {k: grammar.sentences(grammar.request(k)) for k in lexicon.KEYWORDS}
    for item in (0, 3):
        one = split.take(np.array([item]))
        for heard in (frozenset({"audio"}), BOTH | {"text"}, frozenset({"text"})):
            keywords = dict.fromkeys(lexicon.KEYWORDS, 1.0)
            if heard & BOTH:
                ((_, ways),) = evidence_of(one, heard)
                logs = {
                    k: np.logaddexp.reduce([
                        lead + np.logaddexp.reduce(
                            sentence_sums(e.frames[0], int(e.lengths[0]), listed) + np.log(chance)
                        )
                        for lead, e in ways
                    ])
                    for k, (listed, chance) in lists.items()
                }  # fmt: skip
                keywords = {k: float(np.exp(v - max(logs.values()))) for k, v in logs.items()}
            row = np.asarray(one.inputs["text"].values)[0]  # type: ignore[union-attr]
            typed = [
                lexicon.THINGS.index(w) for t in row if (w := known.words[t]) in lexicon.THINGS
            ]
            total = np.zeros(6)
            for thing in range(6):
                # (chance of the kind, what speech says, what is typed)
                cases = [(0.25, thing, []), (0.25, NONE, [thing]), (0.25, thing, [thing])]
                for other in set(range(6)) - {thing}:
                    cases.append((0.25 / 10, lexicon.ORDINALS[0], [thing, other]))
                    cases.append((0.25 / 10, lexicon.ORDINALS[1], [other, thing]))
                for chance, keyword, things in cases:
                    if "text" not in heard or things == typed:
                        total[thing] += chance * keywords[keyword]
            mine = speech.posterior(one, heard)[0]
            np.testing.assert_allclose(mine, total / total.sum(), rtol=1e-6, atol=1e-12)


# --- against what is drawn -----------------------------------------------------------------------


@pytest.mark.parametrize("heard", [frozenset({"audio"}), ALL], ids=["audio", "all"])
def test_the_posterior_promises_what_happens(make: Make, heard: frozenset[str]) -> None:
    """Calibration: a law that is not that of the data would show here."""
    split = make("intent", 250, snr_db=[-6.0, -12.0], occlusion=0.4, asynchrony_ms=40)
    chances = speech.posterior(split, heard)
    labels = np.asarray(split.targets["intent"])
    own = chances[np.arange(250), labels]
    hits = (chances.argmax(axis=1) == labels) - chances.max(axis=1)
    loss = -np.log(own) + (chances * np.log(np.maximum(chances, 1e-300))).sum(axis=1)
    for gap in (hits, loss):
        assert abs(gap.mean()) < 4.0 * gap.std() / 250**0.5 + 1e-9


def test_lips_help_most_where_the_noise_is_loud_and_covered_ones_less(make: Make) -> None:
    """Word error rates of audio, and of both, as measured elsewhere on this law."""
    known = {10.0: (0.003, 0.002), 0.0: (0.210, 0.005), -5.0: (0.471, 0.026), -10.0: (0.709, 0.194)}
    found = {}
    for ratio, (alone, both) in known.items():
        split = make("words", 150, snr_db=ratio)
        rates = [wer(split, speech.oracle(split, h)) for h in (frozenset({"audio"}), BOTH)]
        assert rates[0] == pytest.approx(alone, abs=0.03 + 0.15 * alone)
        assert rates[1] == pytest.approx(both, abs=0.02 + 0.15 * both)
        found[ratio] = rates[1]
    split = make("words", 150, snr_db=0.0)
    assert wer(split, speech.oracle(split, frozenset({"video"}))) == pytest.approx(0.758, abs=0.05)
    hidden = make("words", 150, snr_db=0.0, occlusion=0.5)
    assert found[0.0] + 0.05 < wer(hidden, speech.oracle(hidden, BOTH)) < 0.17
    gone = make("words", 60, snr_db=0.0, occlusion=1.0)
    alone = speech.oracle(gone, frozenset({"audio"}))
    assert speech.oracle(gone, BOTH).outputs == alone.outputs


@pytest.mark.parametrize("render", ["features", "wave"])
def test_words_that_look_alike_on_the_lips_tie_to_the_bit(make: Make, render: str) -> None:
    """Otherwise rounding chooses among them, and levels are those of one processor."""
    split = make("words", 40, render=render)
    for _, led_evidence in evidence_of(split, frozenset({"video"})):
        for _, evidence in led_evidence:
            words = evidence.frames[..., 1:].reshape(
                *evidence.frames.shape[:2], lexicon.GROUPS, lexicon.PLACES, timing.STATES
            )
            assert np.ptp(words[:, :, 0], axis=2).max() > 1
            assert (words == words[:, :, :1]).all()


def test_equal_means_are_scored_once_wherever_they_stand() -> None:
    means = np.array([[1.0, 2.0], [0.0, 1.0], [1.0, 2.0], [3.0, 0.0]])
    asked = []

    def scores(own: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        asked.append(len(own))
        return np.arange(len(own)) + 10.0 * own[:, 0]

    found = features.each_once(means, scores)
    assert asked == [3]
    assert found.tolist() == [11.0, 0.0, 11.0, 32.0]


def test_a_lead_of_the_lips_costs_the_oracle_little_as_long_as_it_knows_of_it(make: Make) -> None:
    split = make("words", 120, snr_db=-5.0, asynchrony_ms=120)
    assert wer(split, speech.oracle(split, BOTH)) < 0.08
    law = split.references["words"].law  # type: ignore[attr-defined]
    blind = replace(split.references["words"], law=replace(law, most=0))  # type: ignore[type-var]
    deaf = replace(split, references={"words": blind})
    assert wer(deaf, speech.oracle(deaf, BOTH)) > 0.15


def test_a_topic_and_a_typed_source_help(make: Make) -> None:
    split = make("context", 150, snr_db=-10.0)
    with_text = wer(split, speech.oracle(split, ALL))
    assert with_text + 0.01 < wer(split, speech.oracle(split, BOTH)) < 0.25
    split = make("translation", 100, snr_db=-5.0)
    names = [frozenset({"text"}), BOTH - {"video"}, BOTH - {"video"} | {"text"}, ALL]
    found = [
        score(
            speech.oracle(split, heard), split.references, "translation", ["sacrebleu"],
            ids=split.ids,
        ).scores["sacrebleu"].value
        for heard in names
    ]  # fmt: skip
    assert max(found[0], found[1]) < found[2] - 5 < found[3] - 10
    typed = speech.heard_words(split, frozenset({"text"}))
    legible = sentences.draw(11, "test", 100, "translation")
    assert ((typed != NONE) == (legible.words != NONE)).all()
    known = sentences.typed_words("translation")
    shown = (np.asarray(legible.text) > 0) & (
        np.asarray(legible.text) != known.ids[lexicon.GAP_TOKEN]
    )
    np.testing.assert_array_equal(typed[shown], legible.words[shown])


def test_the_oracle_of_waveforms_reads_them(make: Make) -> None:
    split = make("words", 40, render="wave", snr_db=0.0)
    alone, both = (wer(split, speech.oracle(split, h)) for h in (frozenset({"audio"}), BOTH))
    assert both < 0.2 < alone < 0.6
    lips = wer(split, speech.oracle(split, frozenset({"video"})))
    assert 0.65 < lips < 0.88, "lips do not tell the manner, in pictures neither"
    assert proven.bounds(split) == {}
    seen = templates.of_lips(11).means
    np.testing.assert_allclose(seen[1:13], seen[13:25])


def test_permuted_answers_are_no_better_than_chance(make: Make) -> None:
    split = make("words", 60, snr_db=10.0)
    texts = split.references["words"]
    assert isinstance(texts, TextReferences)
    rolled = replace(split, references={"words": texts.take([*range(1, 60), 0])})
    assert wer(rolled, speech.oracle(split, BOTH)) > 0.8
    split = make("translation", 200, snr_db=10.0)
    told = split.references["translation"]
    assert isinstance(told, TextReferences)
    rolled = replace(split, references={"translation": told.take([*range(1, 200), 0])})
    answers = speech.oracle(split, ALL)
    right, wrong = (
        score(answers, own.references, "translation", ["sacrebleu"], ids=own.ids)
        .scores["sacrebleu"].value
        for own in (split, rolled)
    )  # fmt: skip
    blind = score(
        speech.oracle(split, frozenset()), split.references, "translation", ["sacrebleu"],
        ids=split.ids,
    ).scores["sacrebleu"].value  # fmt: skip
    assert right > 90
    assert wrong < blind + 15
    split = make("intent", 200, snr_db=10.0)
    chances = speech.posterior(split, ALL)
    wrong = np.roll(np.asarray(split.targets["intent"]), 1)
    assert (chances.argmax(axis=1) == wrong).mean() == pytest.approx(1 / 6, abs=0.11)


def test_what_is_no_modality_or_no_split_of_the_dataset_is_refused(make: Make) -> None:
    split = make("words", 3)
    with pytest.raises(UsageError, match="unknown modality 'smell': the data have audio, video"):
        speech.oracle(split, frozenset({"smell"}))
    with pytest.raises(UsageError, match="not of the dataset 'speech'"):
        speech.oracle(replace(split, references={}), BOTH)


# --- bounds and levels ---------------------------------------------------------------------------


def test_bounds_grow_with_what_is_heard_and_the_oracle_keeps_to_them(make: Make) -> None:
    split = make("intent", 100, snr_db=-5.0)
    found = speech.bounds(split)
    assert set(found) == {"accuracy", "micro_f1", "bits", "nll", "brier"}
    for metric, sign in (("accuracy", 1), ("bits", -1)):
        table = {frozenset(names.split("+")): value for names, value in found[metric].items()}
        assert len(table) == 7
        for less, more in ((a, b) for a in table for b in table if a < b):
            assert sign * (table[more] - table[less]) > -0.05
        for heard, bound in table.items():
            said = speech.oracle(split, heard)
            value = score(said, split.references, "intent", [metric], ids=split.ids).scores[metric]
            spread = 0.5 if metric == "accuracy" else 1.2
            assert abs(value.value - bound) < 4 * spread / 100**0.5


def test_late_fusion_has_no_less_than_the_bits_that_are_proven() -> None:
    """Against the best additive logits on what is spoken and typed, found numerically."""
    from scipy.optimize import minimize

    things, spoken = 6, 9
    pairs = [(i, j) for i in range(things) for j in range(things) if i != j]
    typed = 1 + things + len(pairs)
    law = np.zeros((things, spoken, typed))
    for y in range(things):
        law[y, y, 0] += 0.25
        law[y, 8, 1 + y] += 0.25
        law[y, y, 1 + y] += 0.25
        for place, (i, j) in enumerate(pairs):
            if y == i:
                law[y, 6, 7 + place] += 0.25 / 10
            if y == j:
                law[y, 7, 7 + place] += 0.25 / 10
    law /= things
    assert law.sum() == pytest.approx(1.0)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        f, g = flat[: things * spoken], flat[things * spoken :]
        logits = f.reshape(things, spoken, 1) + g.reshape(things, 1, typed)
        total = np.logaddexp.reduce(logits, axis=0)
        cell = law.sum(axis=0)
        slope = cell * np.exp(logits - total) - law
        value = (cell * total).sum() - (law * logits).sum()
        return value / np.log(2), np.concatenate(
            [slope.sum(axis=2).ravel(), slope.sum(axis=1).ravel()]
        ) / np.log(2)

    start = np.random.default_rng(0).normal(size=things * (spoken + typed))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 3000})
    assert 0.25 - 1e-9 <= best.fun < 0.27


@pytest.mark.parametrize("name", ["speech", "intent", "speech_context", "translation"])
def test_levels_leave_something_to_fusion(name: str) -> None:
    task = catalog.task(name)
    assert set(task.levels) == set(task.metric_names)
    main = task.levels[task.metrics.main]
    best_alone = (min if task.metrics.main == "wer" else max)(main.alone.values())
    assert abs(main.ceiling - best_alone) > 0.1
    if name == "intent":
        assert task.levels["bits"].late == pytest.approx(0.25, abs=1e-4)
        assert task.levels["bits"].ceiling < 0.1


def test_the_ceiling_of_speech_is_the_score_of_its_oracle() -> None:
    task = catalog.task("speech")
    split = _load.load(task).splits["test"]
    assert wer(split, speech.oracle(split, BOTH)) == pytest.approx(
        task.levels["wer"].ceiling, abs=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", [
    "speech", "speech_text", "speech_async", "speech_wave", "speech_context", "translation",
    "speech_translation", "intent",
])  # fmt: skip
def test_levels_are_the_scores_of_the_oracle(name: str) -> None:
    from mmbench.levels import levels

    task = catalog.task(name)
    assert levels(task, _load.load(task)) == task.levels
