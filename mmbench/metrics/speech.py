"""Error rates of transcripts: words (WER, MER, WIL) and characters (CER) that came out wrong.

A prediction is aligned with its reference by the fewest substitutions S, deletions D and
insertions I (Levenshtein, 1966) and has H hits; the reference has ``N = S + D + H`` words, the
prediction ``P = S + I + H``. All values are of the corpus: sums over items, never a mean of
utterances, in which one word wrong in two would weigh as much as ten in twenty.

On equal words and characters everything equals jiwer 4, the division into S, D and I included.
What is decided here, where others differ or say nothing:

* **An empty prediction** deletes every word of its reference: WER 1, not 0.
* **An empty reference** is compared like any other: all that was said about it is insertions, and
  counts. Refused is only a corpus whose references have no word at all; in a part of a corpus
  (one speaker, say) without any, WER is the number of insertions, as in jiwer.
* **Several references**: an item is compared with the one that takes the fewest edits; of equals
  with the longest, which makes the rate lowest; of those with the first. (The multi-reference WER
  of Niessen et al., LREC 2000. jiwer has one reference.)
* **Words** are what stands between white space. (jiwer's default splits at blanks and leaves a
  single tab or line break inside a word.) **Characters** are Unicode's code points, the blanks
  inside a text included, those around it not, as in jiwer.

Upper and lower case, punctuation and spelling count as written. ``wer(normalizer=english)``,
``(normalizer=jiwer)`` and so on first apply a normaliser to both sides, see
`mmbench.normalise.normalise`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics._contract import Metric, family
from mmbench.metrics._edits import character_edit_kinds, character_edits, word_edits
from mmbench.metrics._items.text import TextItems, no_worst_answer
from mmbench.normalise import NORMALIZERS, normalise

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    from mmbench.metrics._contract import Value
    from mmbench.metrics._edits import Ints
    from mmbench.types import Floats

    Gradient: TypeAlias = Callable[[Floats], Floats]

#: Raised whenever values change; those that change with a normaliser are counted with it.
_VERSION = 1 + sum(normalizer.version - 1 for normalizer in NORMALIZERS.values())


def _word_rows(items: TextItems, normalizer: str = "none") -> Floats:
    """Edits in words between each prediction and its closest reference.

    Args:
        items: Any texts.
        normalizer: Name of a normaliser, see `mmbench.normalise.normalise`.

    Returns:
        [N, 4]: substitutions, deletions, insertions, hits.

    Raises:
        UsageError: The references that were compared with have no word, all of them together.
        UnknownNameError: No normaliser has that name.
    """
    rows = word_edits(*_sides(items, normalizer))
    return _counted(rows, rows[:, [0, 1, 3]], "word", normalizer)


def _character_rows(items: TextItems, normalizer: str = "none") -> Floats:
    """Edits in characters between each prediction and its closest reference.

    Args:
        items: Any texts.
        normalizer: Name of a normaliser, see `mmbench.normalise.normalise`.

    Returns:
        [N, 2]: edits, characters of the reference.

    Raises:
        UsageError: The references that were compared with have no character, all of them together.
        UnknownNameError: No normaliser has that name.
    """
    rows = character_edits(*_stripped(items, normalizer))
    return _counted(rows, rows[:, 1], "character", normalizer)


def _character_edit_rows(items: TextItems, normalizer: str = "none") -> Floats:
    """Edits in characters, told apart, between each prediction and its closest reference.

    Args:
        items: Any texts.
        normalizer: Name of a normaliser, see `mmbench.normalise.normalise`.

    Returns:
        [N, 4]: substitutions, deletions, insertions, hits.

    Raises:
        UsageError: The references that were compared with have no character, all of them together.
        UnknownNameError: No normaliser has that name.
    """
    rows = character_edit_kinds(*_stripped(items, normalizer))
    return _counted(rows, rows[:, [0, 1, 3]], "character", normalizer)


def _sides(items: TextItems, normalizer: str) -> tuple[list[str], list[str], Ints]:
    """Return normalised predictions, normalised references, and how many each item has."""
    counts = np.fromiter(map(len, items.references), dtype=np.int64, count=len(items))
    flat = (text for references in items.references for text in references)
    return normalise(items.predictions, normalizer), normalise(flat, normalizer), counts


def _stripped(items: TextItems, normalizer: str) -> tuple[list[str], list[str], Ints]:
    """Return `_sides` without the blanks around texts, which are no characters."""
    said, true, counts = _sides(items, normalizer)
    return [text.strip() for text in said], [text.strip() for text in true], counts


def _counted(rows: Ints, of_references: Ints, unit: str, normalizer: str) -> Floats:
    """Return rows as floats; refuse references that say nothing, all of them together."""
    if not of_references.any():
        raise UsageError(f"{unit} error rates: {_nothing_left(unit, normalizer)}")
    return rows.astype(np.float64)


def _silent(unit: str, items: TextItems, normalizer: str = "none") -> str:
    """Say that the references say nothing, or return an empty string."""
    texts = (text for references in items.references for text in references)
    some = any(normalise([text], normalizer)[0].strip() for text in texts)
    return "" if some else _nothing_left(unit, normalizer)


def _nothing_left(unit: str, normalizer: str) -> str:
    by = "" if normalizer == "none" else f" that the normaliser {normalizer!r} leaves"
    return (
        f"no reference that a prediction was compared with has a {unit}{by}, and errors are "
        f"counted per {unit} of the references: score items whose references say something"
    )


@dataclass(frozen=True)
class _Rate:
    """``over . sums / under . sums``; a denominator of 0 counts as 1.

    Attributes:
        over: [S] which counts make the numerator.
        under: [S] which make the denominator.
    """

    over: tuple[int, ...]
    under: tuple[int, ...]

    def value(self, sums: Floats) -> Floats:
        return np.asarray(sums @ np.array(self.over) / np.maximum(sums @ np.array(self.under), 1))

    def gradient(self, sums: Floats) -> Floats:
        over, under = np.array(self.over), np.array(self.under)
        below = max(float(sums @ under), 1.0)
        return np.asarray((over - self.value(sums) * under) / below, dtype=np.float64)


_TRUE, _SAID, _HITS = np.array([[1, 1, 0, 1], [1, 0, 1, 1], [0, 0, 0, 1]])


def _preserved(sums: Floats) -> Floats:
    true, said, hits = sums @ _TRUE, sums @ _SAID, sums @ _HITS
    shares = (hits / np.maximum(true, 1)) * (hits / np.maximum(said, 1))
    # Silence that was heard as silence loses nothing.
    return np.where((true == 0) & (said == 0), 1.0, shares)


def _preserved_gradient(sums: Floats) -> Floats:
    true, said, hits = (max(float(sums @ count), 1.0) for count in (_TRUE, _SAID, _HITS))
    share = float(_preserved(sums))
    gradient = share * (2 * _HITS / hits - _TRUE / true - _SAID / said)
    return np.asarray(gradient, dtype=np.float64)


def _lost(sums: Floats) -> Floats:
    return np.asarray(1 - _preserved(sums))


def _lost_gradient(sums: Floats) -> Floats:
    return -_preserved_gradient(sums)


_SETTINGS = "average:micro|references:fewest edits"


def _of_words(name: str, summary: str, value: Value, gradient: Gradient, **fields: Any) -> Metric:
    """Make a metric of the family whose statistics are `_word_rows`."""
    return family(
        _word_rows,
        name="wer",
        columns=("substitutions", "deletions", "insertions", "hits"),
        values={name: value},
        gradient=gradient,
        summary=summary,
        version=_VERSION,
        settings=f"words:split at white space|{_SETTINGS}",
        options={"normalizer": "none"},
        shown=("normalizer",),
        **{
            "higher_is_better": False,
            "bounds": (0.0, 1.0),
            "check": partial(_silent, "word"),
            **fields,
        },
    )[0]


def _word_rate(name: str, summary: str, rate: _Rate, **fields: Any) -> Metric:
    return _of_words(name, summary, rate.value, rate.gradient, **fields)


def _said_wrong(unit: str, items: TextItems, normalizer: str = "none") -> str:
    """As `_silent`; nor are errors counted in what nobody said: a missing text has none."""
    return no_worst_answer(items) or _silent(unit, items, normalizer)


wer = _word_rate(
    "wer",
    "Word error rate: edits per word of the references, (S + D + I) / (S + D + H); from 0 up.",
    _Rate(over=(1, 1, 1, 0), under=(1, 1, 0, 1)),
    bounds=(0.0, None),
    wrong=1.0,
)
mer = _word_rate(
    "mer",
    "Match error rate: share of aligned places that are wrong, (S + D + I) / (S + D + I + H).",
    _Rate(over=(1, 1, 1, 0), under=(1, 1, 1, 1)),
)
wil = _of_words(
    "wil",
    "Word information lost: 1 - WIP (Morris, Maier and Green, Interspeech 2004).",
    _lost,
    _lost_gradient,
)
wip = _of_words(
    "wip",
    "Word information preserved: hits per word of the references x per word predicted, H/N x H/P.",
    _preserved,
    _preserved_gradient,
    higher_is_better=True,
)
substitution_rate = _word_rate(
    "substitution_rate",
    "Wrong words per word of the references, S / (S + D + H).",
    _Rate(over=(1, 0, 0, 0), under=(1, 1, 0, 1)),
    check=partial(_said_wrong, "word"),
)
deletion_rate = _word_rate(
    "deletion_rate",
    "Missing words per word of the references, D / (S + D + H).",
    _Rate(over=(0, 1, 0, 0), under=(1, 1, 0, 1)),
)
insertion_rate = _word_rate(
    "insertion_rate",
    "Surplus words per word of the references, I / (S + D + H); from 0 up.",
    _Rate(over=(0, 0, 1, 0), under=(1, 1, 0, 1)),
    check=partial(_said_wrong, "word"),
    bounds=(0.0, None),
    wrong=1.0,
)

_CHARACTERS = _Rate(over=(1, 0), under=(0, 1))


def _of_characters(
    name: str,
    summary: str,
    rate: _Rate,
    rows: Any,
    family_name: str,
    columns: tuple[str, ...],
    **fields: Any,
) -> Metric:
    return family(
        rows,
        name=family_name,
        columns=columns,
        values={name: rate.value},
        gradient=rate.gradient,
        summary=summary,
        higher_is_better=False,
        version=_VERSION,
        settings=f"characters:code points|{_SETTINGS}",
        options={"normalizer": "none"},
        shown=("normalizer",),
        **{"bounds": (0.0, None), "wrong": 1.0, "check": partial(_silent, "character"), **fields},
    )[0]


cer = _of_characters(
    "cer",
    "Character error rate: edits per character of the references; from 0 up.",
    _CHARACTERS,
    _character_rows,
    "cer",
    ("edits", "characters"),
)


def _character_edit_rate(name: str, summary: str, rate: _Rate, **fields: Any) -> Metric:
    """Make a metric of the family that tells edits apart, which takes several times longer."""
    columns = ("substitutions", "deletions", "insertions", "hits")
    return _of_characters(
        name, summary, rate, _character_edit_rows, "character_edits", columns, **fields
    )


character_substitution_rate = _character_edit_rate(
    "character_substitution_rate",
    "Wrong characters per character of the references, S / (S + D + H).",
    _Rate(over=(1, 0, 0, 0), under=(1, 1, 0, 1)),
    check=partial(_said_wrong, "character"),
    bounds=(0.0, 1.0),
)
character_deletion_rate = _character_edit_rate(
    "character_deletion_rate",
    "Missing characters per character of the references, D / (S + D + H).",
    _Rate(over=(0, 1, 0, 0), under=(1, 1, 0, 1)),
    bounds=(0.0, 1.0),
)
character_insertion_rate = _character_edit_rate(
    "character_insertion_rate",
    "Surplus characters per character of the references, I / (S + D + H); from 0 up.",
    _Rate(over=(0, 0, 1, 0), under=(1, 1, 0, 1)),
    check=partial(_said_wrong, "character"),
)
