"""Bounds that are proven: what a set of modalities, or late fusion, cannot pass on a split.

They are expectations over the law of the split, so a score on N items may pass one by its own
standard error, order (1/N)**0.5. Each is moved by three standard errors of its simulation to the
safe side (see `information.DRAWS`; with those draws, 0.003 at most).
"""

from __future__ import annotations

from math import log
from typing import TYPE_CHECKING

from mmbench.data.interactions.information import DRAWS, Estimate, label_entropy, lattice
from mmbench.data.interactions.late import late
from mmbench.data.interactions.references import law_of
from mmbench.data.interactions.structures import MODALITIES

if TYPE_CHECKING:
    from mmbench.types import Split

#: Metric -> the figure that bounds it, and whether higher is better.
_METRICS = {
    "accuracy": ("accuracy", True),
    "micro_f1": ("accuracy", True),  # equals accuracy: every item has one class
    "bits": ("bits", False),
    "nll": ("nll", False),
    "brier": ("brier", False),
    "intensity.mae": ("mae", False),
    "intensity.acc2_has0": ("acc2", True),
    "intensity.acc2_non0": ("acc2", True),
}
_SAFE = 3.0


def bounds(split: Split, draws: int = DRAWS) -> dict[str, dict[str, float]]:
    """Return proven bounds: metric -> modalities joined by ``+`` -> expected value at best.

    Every predictor that hears no more than those modalities is bounded, whatever it is: the
    figures are expectations of what the exact posterior promises (`information.lattice`).

    Args:
        split: Any split of this dataset, or a part of one.
        draws: Items that the expectations are taken over.
    """
    known = lattice(law_of(split), draws)
    found: dict[str, dict[str, float]] = {}
    for metric, (figure, higher) in _METRICS.items():
        for heard, figures in known.items():
            if heard and figure in figures:
                names = "+".join(name for name in MODALITIES if name in heard)
                found.setdefault(metric, {})[names] = _safe(figures[figure], higher)
    return found


def late_bounds(split: Split, draws: int = DRAWS) -> dict[str, float]:
    """Return what late fusion of all modalities reaches at best: metric -> expected value.

    The log loss can be no lower than the label's entropy less what late fusion of the latents has
    (`late`, proven for log-linear fusion and for mixtures with fixed weights), nor lower than
    that of any fusion.
    """
    law = law_of(split)
    least = label_entropy(law) - late(law).bits
    anyone = lattice(law, draws)[frozenset(MODALITIES)]["bits"]
    bits = max(least, _safe(anyone, higher=False), 0.0)
    return {"bits": bits, "nll": bits * log(2)}


def late_references(split: Split, draws: int = DRAWS) -> dict[str, float]:
    """Return what the late fusion with the least log loss scores: references, no bounds.

    Accuracy is that on latents without noise, or that of any fusion on the sequences where this
    is less. Other late fusions may be right more often: on sums modulo 4 additive logits reach
    5/8 and more, with a log loss worse than chance.
    """
    law = law_of(split)
    anyone = lattice(law, draws)[frozenset(MODALITIES)]["accuracy"].value
    return {"accuracy": min(late(law).accuracy, anyone)}


def _safe(estimate: Estimate, higher: bool) -> float:
    margin = _SAFE * estimate.se
    return min(1.0, estimate.value + margin) if higher else max(0.0, estimate.value - margin)
