"""Normalisers by name: which differences between two transcripts count as none.

``Dr. Smith can't come`` and ``doctor smith can not come`` are the same speech written twice. A
normaliser is applied to predictions and references alike before they are compared; which one it
was belongs to a score as much as the metric's name does, so scores with different normalisers are
never ranked together.

Each has a version, raised whenever it would turn some text into another one. What Unicode says of
a character is what Python's `unicodedata` says of it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache

from mmbench.errors import UnknownNameError


@dataclass(frozen=True)
class Normalizer:
    """One way to write a text.

    Attributes:
        apply: From a text to the normalised text.
        version: Raised whenever some text is normalised in another way.
        summary: What it does, in one line.
    """

    apply: Callable[[str], str]
    version: int
    summary: str


def normalise(texts: Iterable[str], normalizer: str = "none") -> list[str]:
    """Return the texts as a normaliser writes them.

    Args:
        texts: As people, or models, wrote them.
        normalizer: A name in `NORMALIZERS`.

            ``none``: the text as it is.

            ``jiwer``: as jiwer's transform ``wer_standardize``: lower case; ``won't``, ``can't``,
            ``let's``, ``n't``, ``'re``, ``'s``, ``'d``, ``'ll``, ``'t``, ``'ve`` and ``'m``
            written out, wherever they stand; what stands in ``<>`` or ``[]`` removed; white space
            made single blanks. One departure: white space beyond ASCII (a no-break space) parts
            words too; jiwer leaves it inside a word.

            ``english``: the normalisation of Whisper's evaluation (Radford et al., ICML 2023,
            arXiv 2212.04356, appendix C) without its steps 9 and 10: **numbers stay as they are
            written** ("ten" is not "10") and so does **British or American spelling** ("colour"
            is not "color"). In order: letters in compatible forms, with diacritics or ligatures
            become plain ones (``é`` e, ``ﬁ`` fi, ``ø`` o, ``ß`` ss); lower case; what stands in
            ``<>``, ``[]`` or ``()`` removed; the words hmm, mm, mhm, mmm, uh and um removed;
            blanks before an apostrophe removed; contractions and titles written out (``won't``
            will not, ``'s`` is, ``gonna`` going to, ``mr`` mister); commas between digits
            removed; a currency or per cent sign moved to its number (``5 %`` 5%); all other
            punctuation and symbols made blanks, but for a full stop or currency sign before a
            digit and a per cent sign after one; white space made single blanks. Departures from
            Whisper's program: a typographic apostrophe is an apostrophe (there ``don’t`` becomes
            ``don t``); ``1,2,3`` loses both commas; a sign without its number is removed at the
            ends of a text as everywhere else; two blanks in ``he'd  been`` are as good as one;
            characters that nobody sees (a zero-width space) are blanks.

    Returns:
        A text for each; may be empty.

    Raises:
        UnknownNameError: No normaliser has that name.

    >>> normalise(["Dr. Smith can't pay $1,200.50 (laughs), um, for a café!"], "english")
    ['doctor smith can not pay $1200.50 for a cafe']
    """
    if normalizer not in NORMALIZERS:
        raise UnknownNameError("normaliser", normalizer, NORMALIZERS)
    return list(map(NORMALIZERS[normalizer].apply, texts))


def _as_it_is(text: str) -> str:
    return text


#: In brackets: not what somebody said, but what somebody says about it.
_BRACKETED = re.compile(r"[<\[][^>\]]*[>\]]")

# --- jiwer ---------------------------------------------------------------------------------------

#: In this order: what comes later sees what came before.
_STANDARD = (
    ("won't", "will not"), ("can't", "can not"), ("let's", "let us"),
    ("n't", " not"), ("'re", " are"), ("'s", " is"), ("'d", " would"), ("'ll", " will"),
    ("'t", " not"), ("'ve", " have"), ("'m", " am"),
)  # fmt: skip


def _jiwer(text: str) -> str:
    text = text.lower()
    if "'" in text:
        for short, long in _STANDARD:
            text = text.replace(short, long)
    if "<" in text or "[" in text:
        text = _BRACKETED.sub("", text)
    return " ".join(text.split())


# --- English, as Whisper is evaluated ------------------------------------------------------------

_FILLERS = ("hmm", "mm", "mhm", "mmm", "uh", "um")
_INFORMAL = {
    "won't": "will not", "can't": "can not", "let's": "let us", "ain't": "aint",
    "y'all": "you all", "ma'am": "madam", "wanna": "want to", "gotta": "got to",
    "gonna": "going to", "imma": "i am going to", "i'ma": "i am going to",
    "coulda": "could have", "shoulda": "should have", "woulda": "would have",
}  # fmt: skip
_TITLES = {
    "ald": "alderman", "assoc": "associate", "asst": "assistant", "capt": "captain",
    "col": "colonel", "dr": "doctor", "esq": "esquire", "gen": "general", "gov": "governor",
    "hon": "honorable", "jr": "junior", "lt": "lieutenant", "mr": "mister", "mrs": "missus",
    "pres": "president", "prof": "professor", "rep": "representative", "rev": "reverend",
    "sen": "senator", "sr": "senior", "st": "saint",
}  # fmt: skip
_CLITICS = {
    "'t": " not", "'re": " are", "'s": " is", "'d": " would", "'ll": " will",
    "'ve": " have", "'m": " am",
}  # fmt: skip
#: Word -> what it is written as. A title parts from a number that follows its full stop.
_WORDS = {
    **dict.fromkeys(_FILLERS, ""),
    **_INFORMAL,
    **{short: f"{long} " for short, long in _TITLES.items()},
}


def _any_of(words: Iterable[str]) -> str:
    return "|".join(map(re.escape, words))


_WORD = re.compile(rf"\b(?:{_any_of(_WORDS)})\b")
_NOT = re.compile(r"n't\b")
_CLITIC = re.compile(rf"(?:{_any_of(_CLITICS)})\b")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_SYMBOL = re.compile(r"[^\w.%$¢€£]|_|[.$¢€£](?![0-9])|(?<![0-9])%")

_PARENTHESES = re.compile(r"\([^)]+\)")
_STRAY_APOSTROPHE = re.compile(r"\s+'")
_HAD = re.compile(r"'d(?=\s+(?:been|gone|done)\b)")
_HAS = re.compile(r"(?<!\blet)'s(?=\s+(?:been|gone|got)\b)")
_STRAY_SIGN = re.compile(r"(?<=[$¢€£])\s+(?=[0-9])|(?<=[0-9])\s+(?=%)")

_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ´", "'"))
#: Letters that Unicode does not take apart into a plain one and a mark.
_LETTERS = str.maketrans(
    {"œ": "oe", "æ": "ae", "ø": "o", "ß": "ss", "đ": "d", "ð": "d", "þ": "th", "ł": "l"}
)


def _english(text: str) -> str:
    text = text.lower() if text.isascii() else _plain(text)
    if "<" in text or "[" in text:
        text = _BRACKETED.sub("", text)
    if "(" in text:
        text = _PARENTHESES.sub("", text)
    if "'" in text:
        text = _STRAY_APOSTROPHE.sub("'", text)
        text = _HAS.sub(" has", _HAD.sub(" had", text))
    if not text.isascii() or "$" in text or "%" in text:
        text = _STRAY_SIGN.sub("", text)
    return " ".join(filter(None, map(_run, text.split())))


def _plain(text: str) -> str:
    """Return a text in lower case with plain letters and apostrophes."""
    apart = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES)).lower()
    kept = (letter for letter in apart if unicodedata.category(letter) != "Mn")
    return "".join(kept).translate(_LETTERS)


# A corpus has far fewer different runs than runs; the bound keeps a long process from growing.
@lru_cache(maxsize=1 << 18)
def _run(run: str) -> str:
    """Return what a run of non-blank characters is written as: no word, one, or several."""
    if run.isascii() and run.isalpha():
        return _WORDS.get(run, run).strip()
    run = _WORD.sub(lambda match: _WORDS[match[0]], run)
    run = _CLITIC.sub(lambda match: _CLITICS[match[0]], _NOT.sub(" not", run))
    return " ".join(_SYMBOL.sub(" ", _THOUSANDS.sub("", run)).split())


#: Normaliser by name.
NORMALIZERS: dict[str, Normalizer] = {
    "none": Normalizer(_as_it_is, 1, "the text as it is"),
    "jiwer": Normalizer(_jiwer, 1, "as jiwer standardises: lower case, contractions written out"),
    "english": Normalizer(_english, 1, "as Whisper is evaluated, but numbers and spelling stay"),
}
