"""Names as they may stand in pages and in file names, whatever a record says they are.

A record may come from anywhere, so its names may hold mark-up, paths, control characters, or ten
thousand letters. Templates escape; here is what escaping does not do.
"""

from __future__ import annotations

import hashlib
import re

#: Letters of a name where it is one among others; its own page has it in full.
SHOWN = 80
#: What stands for the rest of a text that is cut.
ELLIPSIS = "…"
#: Names of this form are file names already. No other gets one without a ``-`` in it.
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,47}")
#: Windows keeps these for devices, whatever their ending.
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)")
#: Signs that no page can hold, or that turn the text around them to the other direction.
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef"
    "\ufffe\uffff\ud800-\udfff]"
)


def clean(text: str) -> str:
    r"""Put the replacement sign where there is a sign that no page can hold.

    >>> clean("a\x00b")
    'a\ufffdb'
    """
    return _UNFIT.sub("\ufffd", text)


def short(text: object, most: int = SHOWN) -> str:
    r"""Return a text in one line, cut where it is longer than `most` letters.

    >>> short("one\n two three", 9)
    'one two …'
    """
    line = " ".join(clean(str(text)[: 4 * most]).split())
    return line if len(line) <= most else line[: most - 1] + ELLIPSIS


def slug(name: str) -> str:
    """Return a file name for a name: the same for the same, another for any other, and harmless.

    >>> slug("late_fusion"), slug("../../Etc")
    ('late_fusion', 'etc-b086b7504f8d71cf')
    """
    if _PLAIN.fullmatch(name) and not _DEVICES.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    readable = re.sub(r"[^a-z0-9_]+", "-", name[:200].lower()).strip("-")[:60].strip("-")
    return f"{readable or 'x'}-{digest}"
