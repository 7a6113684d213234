"""Metrics of how generated images came about: told from real, learned by heart, steered.

Items and features are those of `mmbench.metrics.images`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from mmbench.errors import UsageError
from mmbench.metrics import _frechet, _neighbours
from mmbench.metrics._contract import metric, ratio
from mmbench.metrics._generated import both, lacks_features
from mmbench.metrics._settled import COLUMNS, settle, settled

if TYPE_CHECKING:
    from mmbench.metrics._items.image import ImageItems
    from mmbench.types import Floats

#: How strongly the detector is held back, as a share of a feature's variance.
_RIDGE = 0.01


# --- told from real ------------------------------------------------------------------------------


def _few_for_two(items: ImageItems) -> str:
    return lacks_features(items, fewest=8)


@metric(
    kind="image",
    columns=COLUMNS,
    whole=settled,
    bounds=(None, 1.0),
    higher_is_better=False,
    local=False,
    settings=f"detector:linear in features and squares|ridge:{_RIDGE}",
    check=_few_for_two,
)
def real_fake_auc(items: ImageItems) -> Floats:
    """Real or fake: how well a detector tells generated images from real ones, as an AUC.

    The area under the ROC curve of a linear discriminant with a ridge, of the features and their
    squares, that is trained on one half of the items and judges the other; the mean of both ways
    round (a classifier two-sample test: Lopez-Paz and Oquab, ICLR 2017, 1610.06545). 0.5: it cannot
    tell; 1: always. Lower is better; below 0.5 is chance. Both images of an item are in one half;
    in which, their checksums say, not their order.

    The interval takes the detectors as given, and is that of Mann and Whitney's statistic by
    placements (DeLong et al. 1988).

    Returns:
        [N, 2]: the value, and by how much each item's pseudo-value differs.
    """
    real, generated = both(items, 8)
    half = _frechet.groups(real, generated, 2)
    halves = (half == 0, half == 1)
    placed = np.empty(len(real))
    areas = np.empty(len(real))
    for own, other in (halves, halves[::-1]):
        judge = _detector(real[other], generated[other])
        lower, upper = judge(real[own]), judge(generated[own])
        above = _share_below(lower, upper)
        areas[own] = above.mean()
        placed[own] = above + (1.0 - _share_below(upper, lower)) - above.mean()
    value = float((areas[halves[0]].mean() + areas[halves[1]].mean()) / 2)
    pseudo = placed - areas + value
    return settle(value, pseudo)


def _detector(real: Floats, generated: Floats) -> Callable[[Floats], Floats]:
    """Return what scores features [N, D]: [N], the higher the more generated."""
    centre, spread = real.mean(axis=0), real.std(axis=0)
    spread = np.where(spread > 0, spread, 1.0)

    def terms(x: Floats) -> Floats:
        # Far beyond what is real, how far says no more.
        x = np.clip((x - centre) / spread, -10.0, 10.0)
        return np.concatenate([x, x**2, np.ones((len(x), 1))], axis=1)

    z = np.concatenate([terms(real), terms(generated)])
    side = np.repeat([-1.0, 1.0], [len(real), len(generated)])
    square = z.T @ z / len(z)
    held = np.diag(_RIDGE * (1.0 + np.diag(square)))
    weights = np.linalg.solve(square + held, z.T @ side / len(z))

    def judge(x: Floats) -> Floats:
        said: Floats = terms(x) @ weights
        return said

    return judge


def _share_below(of: Floats, points: Floats) -> Floats:
    """Return [N] the share of numbers that are below each point, half of those equal to it."""
    order = np.sort(of)
    below = np.searchsorted(order, points, side="left")
    upto = np.searchsorted(order, points, side="right")
    share: Floats = (below + upto) / (2.0 * len(of))
    return share


# --- learned by heart ----------------------------------------------------------------------------


def _lacks_known(items: ImageItems) -> str:
    if items.known is None or not len(items.known):
        return "the references name no training images: it needs a dataset that has some"
    return lacks_features(items, fewest=2)


@metric(
    kind="image",
    bounds=(None, 1.0),
    higher_is_better=False,
    local=False,
    settings="distance:of features",
    check=_lacks_known,
)
def memorised(items: ImageItems) -> Floats:
    """Memorisation: share of generated images that are copies of training images.

    Among M training images and the N - 1 real ones of other items, which no training has seen, the
    nearest to a generated image is a training image with probability p = M / (M + N - 1) if nothing
    was learned by heart, whatever it looks like. The value is (share - p) / (1 - p), so 0 then, or
    a little below by chance, and c where a share c of the images are copies. Lower is better.
    (Data-copying tests ask the same: Meehan et al. 2020, 2004.05675, who compare with how near
    held-out images are to training ones, which a poor generator passes by being far from
    everything.) The interval takes the images that are compared with as given.

    Returns:
        [N, 2]: 1 where a training image is nearest, -p / (1 - p) where none is, 0 where both are as
        near; and 1.
    """
    real, generated = both(items, 2)
    known = items.known
    if known is None or not len(known):
        raise UsageError(_lacks_known(items))
    seen = _neighbours.nearest(generated, np.asarray(known, dtype=np.float64))
    unseen = _neighbours.nearest(generated, real, others=True)
    odds = len(known) / (len(real) - 1)  # p / (1 - p)
    rows: Floats = 1.0 * (seen < unseen) - odds * (seen > unseen)
    return rows


# --- steered -------------------------------------------------------------------------------------


def _lacks_pairs(items: ImageItems) -> str:
    if items.pairs is None or len(np.unique(items.pairs)) == len(items.pairs):
        return "no two items are a pair, of which one is an edit of the other"
    if not items.true or any(name not in items.said for name in items.true):
        names = ", ".join(items.true) or "none"
        return f"it needs all attributes of the references, and what was said of them: {names}"
    return ""


@metric(
    kind="image",
    columns=("right", "asked"),
    value=lambda sums: ratio(sums[..., 0], sums[..., 1]),
    bounds=(0.0, 1.0),
    local=False,
    settings="missing:wrong",
    check=_lacks_pairs,
)
def edit_accuracy(items: ImageItems) -> Floats:
    """Control of single attributes: share of edits that change what they have to, and only that.

    Two items are a pair where one is asked for in the words of the other but one. A pair is right
    if every attribute in which they are to differ is right in both images, and every other is the
    same in both, whether right or not. Range 0 to 1, proven; higher is better.

    Returns:
        [N, 2]: for the later item of a pair whether it is right, and 1; for all others 0 and 0.
    """
    if items.pairs is None:
        raise UsageError(_lacks_pairs(items))
    order = np.argsort(items.pairs, kind="stable")
    sorted_pairs = np.asarray(items.pairs)[order]
    second = np.flatnonzero(sorted_pairs[1:] == sorted_pairs[:-1]) + 1
    before, after = order[second - 1], order[second]
    right = np.ones(len(second), dtype=bool)
    for name, true in items.true.items():
        said = items.said[name]
        kept = (said[after] == said[before]) & (said[after] >= 0)
        changes = true[after] != true[before]
        both_right = (said[after] == true[after]) & (said[before] == true[before])
        right &= np.where(changes, both_right, kept)
    rows = np.zeros((len(items), 2))
    rows[after] = np.stack([right, np.ones(len(right))], axis=1)
    return rows
