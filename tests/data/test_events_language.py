"""The subtitles of `events`: every caption can be undone, and the parser raises at nothing."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import text
from mmbench.data.events import grammar, world
from mmbench.data.events.grammar import Facts, Wording, caption, stamp
from mmbench.data.events.parser import SLOTS, facts_of_slots, parse, slots_of

TABLE = world.arrangements()
LAYOUTS = list(
    zip(TABLE.number.tolist(), TABLE.bounces.tolist(), TABLE.moves.tolist(), strict=True)
)
FACTS = Facts(motion=0, sound=1, synchronous=1, number=2, bounces=2, moves=12)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_the_parser_inverts_every_caption(number: int) -> None:
    """All layouts in all wordings, with every motion and sound in turn; all of these in some."""
    kinds = list(product(range(6), range(4), range(2)))
    ways = grammar.wordings()
    place = 0
    for layout in (one for one in LAYOUTS if one[0] == number):
        for way in ways:
            for _ in range(2):
                facts = Facts(*kinds[place % len(kinds)], *layout)
                place += 1
                assert parse(caption.__wrapped__(facts, way)) == slots_of(facts)
    for kind, way in product(kinds, ways):
        facts = Facts(*kind, *LAYOUTS[place % len(LAYOUTS)])
        assert facts_of_slots(parse(caption.__wrapped__(facts, way))) == facts


def test_different_facts_have_different_captions_and_slots() -> None:
    every = [Facts(*kind, *layout) for kind in product(range(6), range(4), range(2))
             for layout in LAYOUTS]  # fmt: skip
    assert len({caption.__wrapped__(facts, Wording()) for facts in every}) == len(every)
    assert len({str(sorted(map(str, slots_of.__wrapped__(f).items()))) for f in every}) == len(
        every
    )


def test_captions_read_like_subtitles() -> None:
    said = caption(FACTS, Wording())
    assert said == "at 0.5 it bounces twice with a bell each time then at 3.0 it moves left"
    other = caption(FACTS._replace(synchronous=0, bounces=8, moves=0), Wording(1, 1, 0, 1, 1, 1))
    assert other == (
        "at 0.0 it slides left and later it bounces twice off the beat of a ding from 2.0 on"
    )


def test_stamps_stay_whole_when_captions_are_cut_into_words() -> None:
    said = caption(FACTS, Wording())
    assert text.tokenize([said], "ptb")[0] == said.split()
    assert parse(said.upper() + ".") == slots_of(FACTS)
    assert {stamp(frame) for frame in range(0, 16, 2)} < set(grammar.vocabulary())


def test_tokens_are_the_words_then_the_end_mark() -> None:
    said = [caption(FACTS, way) for way in grammar.wordings()]
    rows, words = grammar.encode(said), grammar.vocabulary()
    assert rows.shape[1] == grammar.longest()
    for one, row in zip(said, rows.tolist(), strict=True):
        length = len(one.split())
        assert [words[k] for k in row[:length]] == one.split()
        assert row[length:] == [2] + [0] * (len(row) - length - 1)


def test_of_several_clauses_the_first_counts_and_a_wrong_time_is_one_slot_wrong() -> None:
    said = caption(FACTS, Wording())
    guess = f"{said} and at 1.0 it circles and it bounces once with a knock in between from 0.0 on"
    assert parse(guess) == slots_of(FACTS)
    late = parse(said.replace("3.0", "2.5"))
    assert late["time"] == {("bounces", "0.5"), ("moves", "2.5")}
    assert {k: v for k, v in late.items() if k != "time"} == {
        k: v for k, v in slots_of(FACTS).items() if k != "time"
    }


WORDS = st.sampled_from([*grammar.vocabulary()[4:], "", "1", ".", "é", "\n"])


@settings(max_examples=200)
@given(st.lists(WORDS, max_size=30).map(" ".join))
def test_the_parser_reads_anything(said: str) -> None:
    found = parse(said)
    assert set(found) == set(SLOTS)
    assert all(len(found[kind]) <= (2 if kind == "time" else 1) for kind in SLOTS)


@settings(max_examples=50)
@given(st.text(max_size=60))
def test_the_parser_raises_at_nothing(said: str) -> None:
    parse(said)
