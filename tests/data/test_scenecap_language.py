"""The language of SceneCap: many skeletons, no horizontal word, and a parser that undoes it all."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mmbench import rng
from mmbench.data.scenecap import grammar, world
from mmbench.data.scenecap.grammar import CHOICES, TEMPLATE_CHOICES, Facts, Wording, caption
from mmbench.data.scenecap.parser import SLOTS, facts_of_slots, parse, slots_of
from mmbench.references import Slots
from mmbench.text import tokenize

TEMPLATES = list(product(*(range(len(CHOICES[name])) for name in TEMPLATE_CHOICES)))
FACTS = Facts(
    sound=2,
    number=4,
    emitter_colour=1,
    emitter_shape=5,
    distance=0,
    upper_size=1,
    upper_colour=2,
    upper_shape=1,
    lower_size=0,
    lower_colour=4,
    lower_shape=0,
)


def any_facts(count: int) -> list[Facts]:
    """Draw facts at random: any emitter, any two objects of different shapes."""
    tables = (8, 4, 6, 6, 2, 2, 6, 6, 2, 6, 5)
    columns = [
        rng.integers(5, "facts", str(i), count=count, below=below) for i, below in enumerate(tables)
    ]
    columns[1] += 2
    columns[10] = (columns[7] + 1 + columns[10]) % 6
    return [Facts(*row) for row in np.stack(columns, axis=1).tolist()]


def any_wordings(count: int) -> list[Wording]:
    columns = [
        rng.integers(6, "wordings", name, count=count, below=len(weights))
        for name, weights in CHOICES.items()
    ]
    return [Wording(*row) for row in np.stack(columns, axis=1).tolist()]


# --- what is said --------------------------------------------------------------------------------


def test_a_caption_reads_like_this() -> None:
    assert caption(FACTS, Wording()) == (
        "among four shapes the green ring chimes and the big blue square is just above "
        "the small purple circle"
    )


def test_there_are_288_distinct_skeletons() -> None:
    said = {caption(FACTS, Wording(*template)) for template in TEMPLATES}
    assert len(said) == len(TEMPLATES) == 288


def test_skeletons_differ_by_more_than_their_fillers() -> None:
    """With the words of the facts struck out, no two templates are alike."""
    fillers = {
        *(word for words in grammar.SHAPE_WORDS.values() for word in words),
        *(word for words in grammar.SIZE_WORDS.values() for word in words),
        *world.COLOURS,
        *grammar.NUMBERS.values(),
    }
    roles = [
        "".join("_" if w in fillers else w + " " for w in text.split()) for text in said_texts()
    ]
    assert len(set(roles)) == 288


def said_texts() -> list[str]:
    return [caption(FACTS, Wording(*template)) for template in TEMPLATES]


def test_the_references_of_a_split_use_most_skeletons_and_one_is_clearly_likeliest() -> None:
    wordings = grammar.draw_wordings(20260, "train", 8000, 5).reshape(-1, len(CHOICES))
    templates, counts = np.unique(wordings[:, :4], axis=0, return_counts=True)
    assert len(templates) >= 200  # the rarest of the 288 come less than once in 40,000
    share = np.sort(counts)[::-1] / counts.sum()
    likeliest = np.prod([CHOICES[name][0] / sum(CHOICES[name]) for name in TEMPLATE_CHOICES])
    assert abs(share[0] - likeliest) < 0.01
    assert share[0] > 10 * np.median(share)


def test_synonyms_are_drawn_with_their_weights() -> None:
    wordings = grammar.draw_wordings(20260, "train", 8000, 5).reshape(-1, len(CHOICES))
    for (name, weights), column in zip(CHOICES.items(), wordings.T, strict=True):
        shares = np.bincount(column, minlength=len(weights)) / len(column)
        assert np.abs(shares - np.array(weights) / sum(weights)).max() < 0.012, name


def test_captions_are_short_lower_case_and_without_punctuation() -> None:
    lengths = []
    for facts, wording in zip(any_facts(5000), any_wordings(5000), strict=True):
        text = caption(facts, wording)
        assert text == " ".join(text.split()).lower()
        assert text.replace(" ", "").isalpha()
        assert set(text.split()) <= set(grammar.vocabulary())
        lengths.append(len(text.split()))
    assert min(lengths) >= 14
    assert max(lengths) == grammar.longest() - 1 == 22


def test_the_tokenisers_leave_captions_as_they_are() -> None:
    texts = [caption(f, w) for f, w in zip(any_facts(2000), any_wordings(2000), strict=True)]
    for tokenizer in ("ptb", "words"):
        assert tokenize(texts, tokenizer) == [text.split() for text in texts]


def test_every_word_of_the_vocabulary_can_be_said() -> None:
    said = {
        word
        for facts, wording in zip(any_facts(5000), any_wordings(5000), strict=True)
        for word in caption(facts, wording).split()
    }
    assert said == set(grammar.vocabulary()[4:])


def test_no_word_is_about_the_horizontal_and_the_emitter_clause_names_no_position() -> None:
    horizontal = {
        *("left", "right", "beside", "next", "side", "column", "east", "west", "middle", "centre"),
        *("leftmost", "rightmost", "corner", "edge", "between", "adjacent", "horizontal", "near"),
    }
    assert not horizontal & set(grammar.vocabulary())
    positions = {*grammar.UP, *grammar.DOWN, *(w for ws in grammar.ADVERBS.values() for w in ws)}
    for clause in grammar.EMITTER_CLAUSES:
        assert not positions & set(clause.split())
        assert not any(
            f"{{{name}}}" in clause for name in ("upper", "lower", "adverb", "up", "down")
        )


# --- and understood again ------------------------------------------------------------------------


def test_the_parser_undoes_every_template_with_any_facts_and_synonyms() -> None:
    every = len(TEMPLATES) * 40
    templates = TEMPLATES * 40
    for template, facts, drawn in zip(
        templates, any_facts(every), any_wordings(every), strict=True
    ):
        text = caption(facts, Wording(*[*template, *drawn[4:]]))
        assert parse(text) == slots_of(facts), text


def test_the_parser_undoes_every_emitter_clause_behind_and_before_every_neighbour() -> None:
    for sound, colour, shape in product(range(8), range(6), range(6)):
        facts = FACTS._replace(sound=sound, emitter_colour=colour, emitter_shape=shape)
        for index, template in enumerate(TEMPLATES[sound::8]):
            wording = Wording(*[*template, index % 2, 0, 0, index // 2 % 2])
            assert parse(caption(facts, wording)) == slots_of(facts)


@pytest.mark.slow
def test_the_parser_undoes_every_wording_there_is() -> None:
    for template in TEMPLATES:
        for rest in product(
            *(range(len(w)) for n, w in CHOICES.items() if n not in TEMPLATE_CHOICES)
        ):
            assert parse(caption(FACTS, Wording(*template, *rest))) == slots_of(FACTS)


def test_facts_can_be_read_back_from_slots() -> None:
    for facts in any_facts(2000):
        assert facts_of_slots(slots_of(facts)) == facts


@pytest.mark.parametrize("mark", [".", " .", "!", " \n"])
def test_capitals_and_a_mark_at_the_end_change_nothing(mark: str) -> None:
    text = caption(FACTS, Wording())
    assert parse(text.capitalize() + mark) == parse(text.upper()) == slots_of(FACTS)


EMPTY: Slots = dict.fromkeys(SLOTS, frozenset())


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("", {}),
        ("a photo of a dog", {}),
        ("red red red circle", {}),
        ("red disc tweets", {"sound": {("chirp",)}, "emitter": {("red", "circle")}}),
        ("the big red circle is chirping", {"sound": {("chirp",)}, "emitter": {("red", "circle")}}),
        ("buzzing from a big red box", {"sound": {("buzz",)}, "emitter": {("red", "square")}}),
        ("the circle hums", {"sound": {("hum",)}}),
        ("three things and four shapes", {"count": {("four",)}}),
        (
            "square far above a ring",
            {"object": {("square",), ("ring",)}, "relation": {("square", "far", "ring")}},
        ),
        (
            "a small square is slightly under the red ring the the",
            {
                "object": {("square",), ("ring",)},
                "attribute": {("square", "small"), ("ring", "red")},
                "relation": {("ring", "near", "square")},
            },
        ),
        (
            "the big blue square is just above the",
            {},
        ),
        (
            "small green ring clicking comes from the red circle",
            {"sound": {("click",)}, "emitter": {("red", "circle")}},
        ),
    ],
)
def test_text_that_is_no_caption_gives_the_clauses_that_are_there(
    text: str, slots: dict[str, set[tuple[str, ...]]]
) -> None:
    assert parse(text) == {**EMPTY, **{name: frozenset(found) for name, found in slots.items()}}


def test_the_first_clause_counts_so_that_listing_guesses_wins_nothing() -> None:
    one = caption(FACTS, Wording())
    two = caption(any_facts(9)[8], Wording())
    assert parse(f"{one} {two}") == parse(f"{one} {one}") == parse(one) != parse(two)


WORDS = st.lists(st.sampled_from(grammar.vocabulary()), max_size=60).map(" ".join)


@given(st.one_of(st.text(), WORDS))
@example("İ ſ K")
@example("\ud800 the red circle chirps")
@settings(max_examples=600, deadline=None)
def test_the_parser_never_raises_and_never_finds_more_than_a_caption_can_say(text: str) -> None:
    slots = parse(text)
    assert tuple(sorted(slots)) == tuple(sorted(SLOTS))
    most = {"object": 2, "attribute": 4, "relation": 1, "sound": 1, "emitter": 1, "count": 1}
    for name, found in slots.items():
        assert len(found) <= most[name]
        assert all(isinstance(word, str) for filler in found for word in filler)
    sizes = [filler for filler in slots["attribute"] if filler[1] in world.SIZES]
    assert len(sizes) <= 2
    assert len(slots["attribute"]) - len(sizes) <= 2


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["and", "there", "some", "zzz"]))))
@settings(max_examples=300, deadline=None)
def test_words_of_no_clause_around_the_clauses_are_passed_over(
    inserted: list[tuple[int, str]],
) -> None:
    clauses = ["among four shapes", "the green ring chimes"]
    clauses.append("the big blue square is just above the small purple circle")
    for place, word in inserted:
        clauses.insert(place, word)
    assert parse(" ".join(clauses)) == slots_of(FACTS)


def test_the_parser_is_fast_enough_for_every_validation() -> None:
    texts = [caption(f, w) for f, w in zip(any_facts(5000), any_wordings(5000), strict=True)]
    rates = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            parse(text)
        rates.append(len(texts) / (time.process_time() - start))
    assert max(rates) > 8_000  # 35,000 on an idle core; a busy one has room
