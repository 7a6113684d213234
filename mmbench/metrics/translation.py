"""BLEU as machine translation reports it: the one of sacrebleu, from 0 to 100.

It differs from ``bleu4`` in its tokens (upper and lower case kept, punctuation too), in smoothing,
and in scale. Post, A Call for Clarity in Reporting BLEU Scores, WMT 2018 (arXiv 1804.08771).

Tokenisers: ``13a`` (the default; mteval-v13a of WMT), ``char`` (each character a token) and
``none`` (split at white space) are part of mmbench; ``intl`` and ``zh`` are sacrebleu's own and
need it installed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import MissingExtraError, UsageError
from mmbench.metrics._bleu import COLUMNS, ORDERS, bleu_rows
from mmbench.metrics._captions import Captions
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._items.text import TextItems
from mmbench.metrics._ngrams import count
from mmbench.text import Tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from mmbench.types import Floats

#: The tokenisers that sacrebleu has to be installed for.
_BORROWED = ("intl", "zh")
_TOKENIZERS = ("13a", "char", "none", *_BORROWED)


def _refusal(items: TextItems, tokenize: str = "13a") -> str:
    if tokenize not in _TOKENIZERS:
        return f"tokenize: expected one of {', '.join(_TOKENIZERS)}, got {tokenize!r}"
    return ""


def _bleu(total: Floats) -> Floats:
    """Return BLEU of sums [..., 10]; an order without any match is smoothed.

    The first such order counts as half a match, the next as a quarter, and so on. Without any
    match at all, or without a 4-gram in all predictions, the value is 0.
    """
    matched, possible = total[..., :ORDERS], total[..., ORDERS : 2 * ORDERS]
    predicted, reference = total[..., -2], total[..., -1]
    smoothed = 0.5 ** np.cumsum(matched == 0, axis=-1)
    precision = ratio(np.where(matched == 0, smoothed, matched), possible)
    nothing = (precision == 0).any(axis=-1) | (matched == 0).all(axis=-1) | (predicted == 0)
    mean = np.exp(np.log(np.where(nothing[..., None], 1.0, precision)).mean(axis=-1))
    brevity = np.exp(np.minimum(0.0, 1 - ratio(reference, np.where(nothing, 1.0, predicted))))
    return np.asarray(np.where(nothing, 0.0, 100 * brevity * mean))


@metric(
    columns=COLUMNS,
    value=_bleu,
    bounds=(0.0, 100.0),
    settings="n:4|smoothing:exp|reference_length:closest",
    options={"tokenize": "13a", "lowercase": False},
    shown=("tokenize", "lowercase"),
    check=_refusal,
)
def sacrebleu(items: TextItems, tokenize: str = "13a", lowercase: bool = False) -> Floats:
    """BLEU of sacrebleu: n-gram precision of the corpus, with a penalty for brevity.

    ``100 min(1, exp(1 - r / c)) (p_1 p_2 p_3 p_4)^(1/4)``, as in ``bleu4``, from the texts as they
    were written. Smoothing acts on the sums of the corpus and only where an order has no match at
    all, so the statistics of the items add up.

    Range 0 to 100, higher is better. An empty prediction has no n-gram but lengthens r. Equals
    sacrebleu 2 with the same tokeniser and any number of references.

    Args:
        items: Any texts.
        tokenize: ``13a``, ``char``, ``none``, ``intl`` or ``zh``.
        lowercase: Whether upper and lower case are the same.

    Returns:
        [N, 10]: matched n-grams, n-grams (n = 1 to 4), tokens predicted, tokens of the reference.

    Raises:
        UsageError: There is no such tokeniser.
        MissingExtraError: The tokeniser is sacrebleu's, which is not installed.
    """
    reason = _refusal(items, tokenize)
    if reason:
        raise UsageError(f"sacrebleu: {reason}")
    captions = Captions.of_texts(
        items.predictions, items.references, tokenizer(tokenize, lowercase)
    )
    parts = (captions.take(part) for part in captions.parts)
    return np.concatenate([bleu_rows(part, count(part, ORDERS)) for part in parts])


def tokenizer(name: str, lowercase: bool) -> Tokenizer:
    """Return one of sacrebleu's tokenisers.

    Raises:
        MissingExtraError: It is sacrebleu's own, which is not installed.
    """
    text, run = _BUILT_IN[name] if name in _BUILT_IN else (_borrowed(name), _unknown)
    if lowercase:
        return Tokenizer(
            lambda texts: [text(given.lower()) for given in texts], lambda given: run(given.lower())
        )
    return Tokenizer(lambda texts: [text(given) for given in texts], run)


def _borrowed(name: str) -> Callable[[str], list[str]]:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        what = f"sacrebleu, which the tokeniser {name!r} needs,"
        raise MissingExtraError(what, "metrics") from None
    tokenize = BLEU(tokenize=name).tokenizer
    return lambda text: str(tokenize(text.rstrip())).split()


def _unknown(run: str) -> None:
    """Say of a run that its tokens depend on what stands beside it."""


# --- mteval-v13a ---------------------------------------------------------------------------------

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
#: A sign stands alone; a full stop or comma unless between digits; a dash behind a digit.
_SIGN = re.compile(r"([!-&(-+/:-@\[-`{-~])")
_POINT_BEHIND = re.compile(r"([^0-9])([.,])")
_POINT_BEFORE = re.compile(r"([.,])([^0-9])")
_DASH = re.compile(r"([0-9])(-)")


def _mteval(text: str) -> list[str]:
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    if "&" in line:
        for entity, sign in _ENTITIES:
            line = line.replace(entity, sign)
    line = _SIGN.sub(r" \1 ", f" {line} ")
    line = _POINT_BEHIND.sub(r"\1 \2 ", line)
    line = _POINT_BEFORE.sub(r" \1 \2", line)
    return _DASH.sub(r"\1 \2 ", line).split()


def _mteval_run(run: str) -> list[str] | None:
    # A dash at the end of a line joins it with the next, so a line break has to be looked for.
    return None if run.replace("<skipped>", "").endswith("-") else _mteval(run)


def _characters(text: str) -> list[str]:
    return list("".join(text.split()))


_BUILT_IN: dict[str, tuple[Callable[[str], list[str]], Callable[[str], list[str] | None]]] = {
    "13a": (_mteval, _mteval_run),
    "char": (_characters, list),
    "none": (str.split, str.split),
}
