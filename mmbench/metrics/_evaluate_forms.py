"""What modules of evaluate take and give, and which of their numbers are better when higher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from mmbench.errors import IncompatibleError, UsageError

#: Type of the values of a feature -> the kind of output.
_KINDS = {
    **dict.fromkeys(("string", "large_string"), "text"),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32"), "label"),
    **dict.fromkeys(("float16", "float32", "float64"), "scalar"),
}
#: Numbers of the library's own modules that are better when higher: module -> their keys.
_HIGHER = {
    "accuracy": ("accuracy",),
    "bleu": ("bleu",),
    "chrf": ("score",),
    "exact_match": ("exact_match",),
    "f1": ("f1",),
    "google_bleu": ("google_bleu",),
    "matthews_correlation": ("matthews_correlation",),
    "meteor": ("meteor",),
    "nist_mt": ("nist_mt",),
    "pearsonr": ("pearsonr",),
    "precision": ("precision",),
    "r_squared": (),
    "recall": ("recall",),
    "rouge": ("rouge1", "rouge2", "rougeL", "rougeLsum"),
    "sacrebleu": ("score",),
    "spearmanr": ("spearmanr",),
}
#: Those that are better when lower.
_LOWER = {
    "cer": (),
    "character": ("cer_score",),
    "charcut_mt": ("charcut_mt",),
    "mae": ("mae",),
    "mape": ("mape",),
    "mase": ("mase",),
    "mse": ("mse",),
    "perplexity": ("mean_perplexity",),
    "smape": ("smape",),
    "ter": ("score",),
    "wer": (),
}


class Form(NamedTuple):
    """What a module compares.

    Attributes:
        kind: The kind of output.
        several: Whether it takes several references of an item; of texts only.
    """

    kind: str
    several: bool


def form_of(name: str, features: Any) -> Form:
    """Return what a module compares, from its features or a list of alternatives.

    Raises:
        IncompatibleError: No alternative fits a kind of output.
    """
    alternatives = features if isinstance(features, list) else [features]
    forms = [form for form in map(_form, alternatives) if form is not None]
    if not forms:
        shown = ", ".join(str(key) for key in alternatives[0])
        raise IncompatibleError(
            f"metric {name!r}: compares {shown} of a form that no output here has: expected one "
            f"text, whole number or number an item, as 'predictions' beside 'references'"
        )
    kind = forms[0].kind
    return Form(kind, any(form.several for form in forms if form.kind == kind))


def _form(features: Mapping[str, Any]) -> Form | None:
    if set(features) != {"predictions", "references"}:
        return None
    said, truth = features["predictions"], features["references"]
    kind = _KINDS.get(getattr(said, "dtype", None) or "")
    inner = getattr(truth, "feature", None)
    several = inner is not None and kind == "text"
    of_truth = _KINDS.get(getattr(inner if several else truth, "dtype", None) or "")
    return None if kind is None or of_truth != kind else Form(kind, several)


def direction(name: str, title: str, key: Any, asked: Any) -> bool:
    """Return whether higher is better.

    Raises:
        UsageError: Neither we nor the user say it, or they contradict each other.
    """
    if asked is not None and not isinstance(asked, bool):
        raise UsageError(
            f"metric {name!r}: higher_is_better: expected True or False, got {asked!r}"
        )
    known = None
    for table, higher in ((_HIGHER, True), (_LOWER, False)):
        if title in table and (key is None or key in table[title]):
            known = higher
    if known is None and asked is None:
        raise UsageError(
            f"metric {name!r}: nobody says which values are better: add higher_is_better=True or "
            f"higher_is_better=False"
        )
    if known is not None and asked is not None and known is not asked:
        raise UsageError(f"metric {name!r}: higher_is_better: it is {known}")
    return bool(asked if known is None else known)


def number(name: str, result: Any, key: Any) -> float:
    """Return the one number of a result that is meant.

    Raises:
        UsageError: There are several and none was chosen, or not that one; or it is not finite.
    """
    numbers = {"": result} if not isinstance(result, Mapping) else result
    numbers = {word: value for word, value in numbers.items() if _is_number(value)}
    chosen = next(iter(numbers), None) if key is None and len(numbers) == 1 else key
    if isinstance(result, Mapping) and (chosen is None or chosen not in numbers):
        known = ", ".join(map(repr, numbers)) or "none that is one number"
        raise UsageError(f"metric {name!r}: choose a number with key=, of: {known}")
    if not numbers or (key is not None and not isinstance(result, Mapping)):
        what = f"one number without a name, not {key!r}" if numbers else "no number"
        raise UsageError(f"metric {name!r}: gives {what}: expected one, or several and key=")
    value = float(np.asarray(numbers["" if chosen is None else chosen]).reshape(()))
    if not math.isfinite(value):
        raise UsageError(f"metric {name!r}: is {value} of these items or of part of them")
    return value


def _is_number(value: Any) -> bool:
    found = np.asarray(value) if not isinstance(value, (str, Mapping)) else np.empty(0, object)
    return found.ndim == 0 and found.dtype.kind in "fiub"
