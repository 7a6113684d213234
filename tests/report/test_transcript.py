from __future__ import annotations

from typing import Any

import pytest

from mmbench.references import Slots, TextReferences
from mmbench.report import colours
from mmbench.report.samples import Answers, choose
from mmbench.report.transcript import Line, plain, transcript
from mmbench.types import Split

BRANCHES = ("joint", "image")


def parse(text: str) -> Slots:
    return {"colour": frozenset((word,) for word in text.split() if word in ("red", "blue"))}


def answers(
    said: str = "a red dog",
    true: str = "a blue dog",
    weights: list[list[float]] | None = None,
    branches: tuple[str, ...] = BRANCHES,
) -> Answers:
    references = TextReferences([(true, "another")], [parse("blue")], parse)
    return Answers(
        task="mini",
        split="test",
        output="caption",
        ids=["item-0"],
        texts=[said],
        weights=None if weights is None else [weights],
        branches=branches,
        metric="cider_d",
        scores=[1.25],
        data=Split(["item-0"], {}, {}, {"caption": references}),
        row={"item-0": 0},
    )


def lines(made: Answers, columns: int = 80) -> list[Line]:
    return transcript(made, choose(made, 1), columns)


def text(made: Answers, **more: Any) -> list[str]:
    return [plain(line) for line in lines(made, **more)]


VARIED = [[0.9, 0.1], [0.2, 0.8], [0.45, 0.55], [0.7, 0.3]]


def test_a_sample_is_its_prediction_a_reference_and_what_is_wrong() -> None:
    assert text(answers(weights=VARIED), columns=120) == [
        "samples of test:",
        "  item-0  random, cider_d 1.25",
        "    said     a[j .90] red[i .80] dog[i .55]",
        "    true     a blue dog",
        "    wrong    colour: red, not blue",
        "  word[letter weight]: the branch with the largest weight at that word (j joint, i image)",
    ]


def test_words_have_the_colour_of_the_branch_that_spoke_them() -> None:
    said = lines(answers(weights=VARIED))[2]
    paints = colours.of_branches(BRANCHES)
    found = {piece.text: piece.colour for piece in said if piece.text.strip()}
    assert found["a[j .90]"] == paints["joint"]
    assert found["red[i .80]"] == paints["image"]


@pytest.mark.parametrize(
    ("weights", "branches"), [(None, ()), ([[1.0]] * 4, ("image",)), ([[0.4, 0.6]] * 4, BRANCHES)]
)
def test_without_a_choice_between_branches_words_are_plain(
    weights: list[list[float]] | None, branches: tuple[str, ...]
) -> None:
    got = text(answers(weights=weights, branches=branches))
    assert "    said     a red dog" in got
    constant = [line for line in got if "the same at every word: joint .40, image .60" in line]
    assert len(constant) == (len(branches) > 1)


@pytest.mark.parametrize("columns", [50, 72, 120])
def test_lines_are_as_wide_as_the_place_allows_and_keep_every_word(columns: int) -> None:
    words = " ".join(f"word{k}" for k in range(70))
    made = answers(said=words, true=words, weights=[[0.6, 0.4], *VARIED * 20][:71])
    got = text(made, columns=columns)
    assert max(map(len, got)) <= columns
    assert max(map(len, got)) > columns - 20
    joined = " ".join(got)
    for k in range(70):
        assert f"word{k}[" in joined
        assert f" word{k} " in f"{joined} "


def test_a_word_wider_than_a_line_stands_alone() -> None:
    got = text(answers(true=f"a {'m' * 200} dog"), columns=60)
    assert [line.strip() for line in got if "m" * 200 in line] == ["m" * 200]


def test_an_empty_prediction_says_so() -> None:
    assert "    said     (nothing)" in text(answers(said=""))


def test_no_caption_steers_the_terminal() -> None:
    got = "".join(text(answers(said="\x1b[31mred dog", true="a\x07 dog", weights=VARIED)))
    assert "\x1b" not in got
    assert "\x07" not in got
    assert "\ufffd[31mred[j .90]" in got
