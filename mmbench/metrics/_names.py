"""Names of metrics as people write them: several in one text, with commas between."""

from __future__ import annotations

from collections.abc import Sequence

from mmbench.errors import UsageError


def metric_names(metrics: str | Sequence[str]) -> list[str]:
    """Return names of metrics, of which a text may hold several with commas between.

    >>> metric_names("wer(normalizer=english, unit='a,b'),cer")
    ["wer(normalizer=english, unit='a,b')", 'cer']

    Raises:
        UsageError: There is none, or parentheses do not match.
    """
    names: list[str] = []
    for text in [metrics] if isinstance(metrics, str) else metrics:
        names += split(text)
    if not names:
        raise UsageError("no metric is named: 'mmbench list metrics' shows what there is")
    return list(dict.fromkeys(names))


def split(text: str) -> list[str]:
    """Split a text at the commas that stand in no parentheses, brackets or quotes.

    Raises:
        UsageError: Parentheses or quotes do not match.
    """
    parts, depth, quote = [""], 0, ""
    for sign in text:
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        depth += (sign in "([{") - (sign in ")]}") if not quote else 0
        if sign == "," and not depth and not quote:
            parts.append("")
        else:
            parts[-1] += sign
    if depth or quote:
        raise UsageError(f"{text!r}: the parentheses do not match")
    return [part.strip() for part in parts if part.strip()]
