"""Normalisers write what they say they write."""

from __future__ import annotations

import re
import string

import jiwer
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmbench import normalise as module
from mmbench.errors import UnknownNameError
from mmbench.normalise import NORMALIZERS, normalise

#: Text -> what Whisper's own program makes of it, its steps 9 and 10 (numbers, spelling) left out.
WHISPER = {
    "": "",
    "Hello, World!": "hello world",
    "Dr. Smith can't pay $1,200.50 (laughs), um, for a café!": (
        "doctor smith can not pay $1200.50 for a cafe"
    ),
    "Mr. O'Brien's been gone; he'd done it, she's got it": (
        "mister o brien has been gone he had done it she has got it"
    ),
    "I'm gonna, wanna, gotta -- y'all're imma mm-hmm uh-huh [noise] <unk>": (
        "i am going to want to got to you all are i am going to huh"
    ),
    "shouldn't've ain't won't let's rock 'n' roll '90s it 's": (
        "should not have aint will not let us rock n roll 90s it is"
    ),
    "3.5 .5 5. 1,000,000 ...5 3.14.15": "3.5 .5 5 1000000 .5 3.14.15",
    "e.g. the U.S. at 5:54pm": "e g the u s at 5 54pm",
    "50% $5 5¢ £3.20 a%b $x": "50% $5 5 £3.20 a b x",
    "naïve œuvre Straße Łódź þing Æsop ﬁne ½ 5²": (
        "naive oeuvre strasse lodz thing aesop fine 1 2 52"
    ),
    "ma'am I'ma mr.5 mrs.jones st.john 1st col. esq., rep.": (
        "madam i am going to mister .5 missus jones saint john 1st colonel esquire representative"
    ),
    "a_b x<y>z (a (b) c) we'd been they'd gone": "a b xz c we had been they had gone",
    "let's been alet's": "let us been alet is",
    "he'dn't 'twas the dogs' it's so-so": "he would not twas the dogs it is so so",
    "hmm mm mhm mmm uh um hum umm": "hum umm",
    "a - b — c d": "a b c d",
    "twenty-one colours": "twenty one colours",
}

#: Where we depart from it on purpose: text -> ours.
OURS = {
    "don’t": "do not",
    "she‘s ´s": "she is is",
    "1,2,3": "123",
    "five $": "five",
    "c … d": "c d",
    "%": "",
    "he'd  been": "he had been",
    "a\u200bb": "a b",
    "5 % of $ 7": "5% of $7",
}


@pytest.mark.parametrize(("text", "expected"), {**WHISPER, **OURS}.items())
def test_english_is_as_in_whispers_evaluation_but_for_numbers_and_spelling(
    text: str, expected: str
) -> None:
    assert normalise([text], "english") == [expected]


@pytest.mark.parametrize(
    "text", ["twenty one", "2nd", "ten million", "colour", "color", "grey", "organise"]
)
def test_english_leaves_numbers_and_spelling_alone(text: str) -> None:
    assert normalise([text], "english") == [text]


#: Pieces that the rules are about, and ordinary ones.
PIECES = st.sampled_from(
    [*"ab'. ,5%$£-_([)]<>é’’", " ", " ", " ", "can't", "n't", "'s", " been", "um", "mr", "let's"]
)
TEXT = st.lists(PIECES, max_size=14).map("".join) | st.text(max_size=30)


@given(text=TEXT)
@settings(max_examples=500, deadline=None)
def test_what_english_leaves_is_lower_case_words_with_single_blanks(text: str) -> None:
    (found,) = normalise([text], "english")
    assert found == " ".join(found.split())
    assert not re.search(r"[^\w.%$¢€£ ]|_|[.$¢€£](?![0-9])|(?<![0-9])%", found)
    # To Whisper too, "_" makes one word with the letters beside it, and "umn't" becomes "um not".
    if not set("_'") & set(text):
        assert not re.search(r"\b(?:hmm|mm|mhm|mmm|uh|um)\b", found)
    assert not any(char in string.ascii_uppercase for char in found)


@given(texts=st.lists(TEXT, max_size=5))
@settings(max_examples=200, deadline=None)
@pytest.mark.parametrize("normalizer", NORMALIZERS)
def test_a_text_is_normalised_by_itself(normalizer: str, texts: list[str]) -> None:
    assert normalise(texts, normalizer) == [normalise([text], normalizer)[0] for text in texts]


@given(text=TEXT)
@settings(max_examples=500, deadline=None)
def test_jiwer_is_what_jiwer_makes_of_it(text: str) -> None:
    # jiwer parts words at blanks only, and turns only ASCII's white space into them.
    text = "".join(" " if char.isspace() else char for char in text)
    (words,) = jiwer.transformations.wer_standardize([text])
    assert normalise([text], "jiwer") == [" ".join(words)]


@pytest.mark.parametrize(
    "text",
    [
        "She'll  WON'T\tcan't\n[cough] let's",
        "<unk>you[x]like",
        "[a>b",
        "it's 'twas isn't",
        "\x0b\x0c",
    ],
)
def test_jiwer_is_what_jiwer_makes_of_it_on_what_its_rules_are_about(text: str) -> None:
    (words,) = jiwer.transformations.wer_standardize([text])
    assert normalise([text], "jiwer") == [" ".join(words)]


def test_jiwer_parts_words_at_a_no_break_space_where_jiwer_does_not() -> None:
    assert normalise(["A\xa0b"], "jiwer") == ["a b"]
    assert jiwer.transformations.wer_standardize(["A\xa0b"]) == [["a\xa0b"]]


@given(text=st.text())
def test_none_changes_nothing(text: str) -> None:
    assert normalise([text]) == normalise([text], "none") == [text]


def test_an_unknown_normaliser_is_refused_with_the_near_one() -> None:
    with pytest.raises(UnknownNameError, match=r"'Jiwer': did you mean 'jiwer'\? known: english"):
        normalise(["a"], "Jiwer")


def test_every_normaliser_has_a_version_and_says_what_it_does() -> None:
    for name, normalizer in NORMALIZERS.items():
        assert normalizer.version >= 1
        assert normalizer.summary
        assert f"``{name}``:" in (module.normalise.__doc__ or "")
