"""What a text may not do where it is shown: each format has signs of its own."""

from __future__ import annotations

import html as _html

#: Characters of a name that a table shows; names in JSON are whole.
MOST = 80

_TEX = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def plain(text: str, most: int | None = None) -> str:
    r"""Return a text in one line, without what would move a terminal's cursor.

    >>> plain("two\nlines\x1b[31m")
    'two lines�[31m'

    Args:
        text: Any.
        most: Cut it there.
    """
    if not text.isprintable():
        text = "".join(" " if c.isspace() else c if c.isprintable() else "\ufffd" for c in text)
    text = " ".join(text.split())
    return text if most is None or len(text) <= most else f"{text[: most - 1]}…"


def markdown(text: str) -> str:
    """Escape what Markdown would read otherwise, in one line."""
    for sign in ("\\", "|", "<", "`", "*", "[", "]"):
        text = text.replace(sign, "&lt;" if sign == "<" else f"\\{sign}")
    return " ".join(text.split())


def tex(text: str) -> str:
    r"""Escape what LaTeX would read otherwise, in one line.

    >>> print(tex("a_b & c"))
    a\_b \& c
    """
    return "".join(_TEX.get(sign, sign) for sign in plain(text))


def html(text: str) -> str:
    """Escape what HTML would read otherwise, in attributes too."""
    return _html.escape(plain(text), quote=True)
