"""The colours of figures and terminal: few, told apart by colour-blind readers too.

All are from the palette of Okabe and Ito (Color Universal Design, 2008), or greys.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

INK = "#222222"
FAINT = "#6b6b6b"
TRACK = "#ececec"
HEADROOM = "#c9dcea"
LINE = "#b5b5b5"
#: What was measured.
SCORE = "#0072b2"
#: A fact that holds, and one that does not; the latter is underlined too, wherever it stands.
RIGHT, WRONG = "#00795c", "#c44601"

#: Branches that most models have keep their colour in all figures.
KNOWN = {
    "joint": "#0072b2",
    "image": "#e69f00",
    "audio": "#009e73",
    "text": "#cc79a7",
    "tags": "#cc79a7",
    "video": "#56b4e9",
}
#: Colours of models, of which the first four differ in how dark they are, too.
SERIES = (
    "#0072b2", "#e69f00", "#222222", "#cc79a7", "#009e73", "#d55e00", "#56b4e9", "#8a7f00",
)  # fmt: skip
#: Colours of all others.
OTHERS = ("#d55e00", "#56b4e9", "#8a7f00", "#cc79a7", "#009e73", "#e69f00", "#0072b2", "#999999")


def of_branches(names: Sequence[str]) -> dict[str, str]:
    """Give each branch, or modality, its colour; no two of up to eight have the same.

    A name in `KNOWN` has that colour in every figure; another has one that its letters choose,
    and gives way to those before it.

    >>> of_branches(["joint", "image"])
    {'joint': '#0072b2', 'image': '#e69f00'}
    """
    found: dict[str, str] = {}
    for name in names:
        if name in KNOWN and KNOWN[name] not in found.values():
            found[name] = KNOWN[name]
    for name in names:
        if name not in found:
            start = hashlib.sha256(name.encode()).digest()[0]
            order = [OTHERS[(start + k) % len(OTHERS)] for k in range(len(OTHERS))]
            free = [colour for colour in order if colour not in found.values()]
            found[name] = (free or order)[0]
    return {name: found[name] for name in names}
