from __future__ import annotations

import pytest

from mmbench.data.scenecap.grammar import vocabulary
from mmbench.data.scenecap.parser import parse
from mmbench.references import Slots, TextReferences
from mmbench.report.samples import Answers, Sample
from mmbench.report.verdicts import ITEMS, WORDS, swap_words, verdicts, wrong_facts
from mmbench.types import Split

SWAPS = [word for word in vocabulary() if word.isalpha()]
TRUE = (
    "there are three shapes a small green cross is far above a big yellow disc "
    "and the red ring hums"
)


def judged(text: str, truth: str = TRUE) -> dict[str, str]:
    """Return the words that are right, wrong and silent."""
    found: dict[bool | None, list[str]] = {True: [], False: [], None: []}
    verdict = verdicts(text, parse(truth), parse, SWAPS)
    for word, each in zip(text.split(), verdict, strict=True):
        found[each].append(word)
    return {
        "right": " ".join(found[True]),
        "wrong": " ".join(found[False]),
        "silent": " ".join(found[None]),
    }


def test_all_words_of_a_true_caption_that_state_facts_are_right() -> None:
    got = judged(TRUE)
    assert got["wrong"] == ""
    assert got["right"] == "three small green cross far above big yellow disc red ring hums"
    assert got["silent"] == "there are shapes a is a and the"


def test_synonyms_are_right() -> None:
    got = judged(
        "a humming red hoop and a large yellow circle sits well under a little green plus "
        "three objects in all"
    )
    assert got["wrong"] == ""
    assert {"humming", "hoop", "circle", "well", "plus", "three"} <= set(got["right"].split())


@pytest.mark.parametrize(
    ("right", "wrong"),
    [("three", "four"), ("far", "just"), ("hums", "buzzes"), ("small", "big"), ("green", "red")],
)
def test_the_one_wrong_word_is_found(right: str, wrong: str) -> None:
    assert judged(TRUE.replace(right, wrong, 1))["wrong"] == wrong


def test_what_is_said_of_an_object_that_is_not_there_is_wrong_too() -> None:
    got = judged(TRUE.replace("green cross", "green square"))
    # "above" answers for which of the two is the upper one, and that is neither.
    assert got["wrong"] == "small green square above"
    assert "far" in got["right"].split()


def test_of_a_single_filler_a_word_answers_for_its_own_part() -> None:
    got = judged(TRUE.replace("red ring", "blue ring"))
    assert got["wrong"] == "blue"
    assert "ring" in got["right"].split()


def test_a_colour_that_belongs_to_another_object_is_wrong() -> None:
    got = judged(TRUE.replace("green cross", "yellow cross"))
    assert got["wrong"] == "yellow"


def test_an_object_that_is_named_twice_is_judged_both_times() -> None:
    text = "there are three shapes a small green cross is far above a small green cross"
    got = judged(text)
    assert got["right"].split().count("cross") == 2
    assert judged(text.replace("green", "black"))["wrong"] == "black black"


def test_words_outside_every_clause_state_nothing() -> None:
    assert judged("lovely weather today")["silent"] == "lovely weather today"
    assert verdicts("", parse(TRUE), parse, SWAPS) == []


def test_a_slot_that_the_item_lacks_is_wrong() -> None:
    assert verdicts("three shapes", {}, parse, SWAPS) == [False, None]


def parse_first(text: str) -> Slots:
    """The first word is the subject, whatever it is; the second its colour."""
    words = text.split()
    return {
        "subject": frozenset([(words[0],)]) if words else frozenset(),
        "colour": frozenset([(words[0], words[1])]) if len(words) > 1 else frozenset(),
    }


def test_a_short_fact_decides_before_a_long_one() -> None:
    truth = parse_first("dog brown")
    assert verdicts("dog white", truth, parse_first, ["cat", "grey"]) == [True, False]
    assert verdicts("cat brown", truth, parse_first, ["cow", "grey"]) == [False, True]


def answers(said: str, parser: object = parse) -> tuple[Answers, Sample]:
    references = TextReferences([(TRUE,)], [parse(TRUE)], parser)  # type: ignore[arg-type]
    data = Split(["item"], {}, {}, {"caption": references})
    made = Answers("mini", "test", "caption", ["item"], [said], data=data, row={"item": 0})
    return made, Sample("item", "random", said, truth=parse(TRUE), row=0)


def test_wrong_facts_are_named_with_what_holds_instead() -> None:
    got = wrong_facts(*answers(TRUE.replace("red ring", "blue ring").replace("three", "two")))
    assert got == ["emitter: blue ring, not red ring", "count: two, not three"]
    assert wrong_facts(*answers(TRUE)) == []


def test_what_is_missing_is_not_wrong() -> None:
    assert wrong_facts(*answers("three shapes")) == []


def test_without_planted_facts_there_is_no_verdict() -> None:
    assert wrong_facts(*answers(TRUE, parser=None)) is None


def test_swap_words_are_what_people_said_in_order_and_bounded() -> None:
    many = TextReferences([("A dog", f"word{k} dog") for k in range(10 * ITEMS)])
    found = swap_words(many)
    assert found[:3] == ["a", "dog", "word0"]
    assert len(found) <= WORDS
    assert f"word{ITEMS}" not in found
