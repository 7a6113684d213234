"""What late fusion cannot pass: its best log loss, by convex optimisation over the latents.

Late fusion merges what single modalities have decided. Two kinds are bounded here:

* *Log-linear*: ``p(y | x) ~ exp(sum_m f_m(x_m, y))``, any functions f_m. A weighted product of
  distributions is of this kind, where each weight is fixed or sees its own modality only.
* *Mixture*: ``p(y | x) = sum_m w_m q_m(y | x_m)``, fixed weights that add up to 1.

Both bounds are computed for predictors that see the *latents* z_m, and hold for those that see
the sequences: given z, the x_m are independent of y, and x_m depends on z_m alone. So put
``g_m(z_m, y) = E[f_m(x_m, y) | z_m]``, which is late fusion of the latents. The log loss is a
convex function of the summed logits, hence by Jensen's inequality

    E[loss(sum_m f_m(x_m)) | z, y] >= loss(E[sum_m f_m(x_m) | z]) = loss(sum_m g_m(z_m)).

The same for a mixture: log is concave, and ``E[w_m q_m(y | x_m) | z_m]`` is again a distribution
of y times w_m. Nothing changes where x_m has noise, wrong times or is at times absent (with weights
for each pattern of absence: each pattern is a late fusion of its own, of what is there).

What is NOT bounded: a mixture whose weights are scaled to add up to 1 item by item, each having
seen its own modality. How much one modality counts then depends on another one; on the exclusive
or of two bits such weights reach 1/4 bit, where both kinds above stand at 0. That is a gate.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from mmbench.data.interactions.law import Law
from mmbench.data.interactions.structures import Floats

# Rounds of the mixture's algorithm at most, and the gap in bits at which it stops before.
_ROUNDS = 20_000
_GAP = 1e-6


@dataclass(frozen=True)
class Late:
    """The best late fusion of latents.

    Attributes:
        additive: I in bits that log-linear fusion has at most: H(Y) less its least log loss.
        mixture: The same of a mixture.
        accuracy: What the additive one with the least log loss scores, on latents. A reference,
            no bound: another one may be right more often while its log loss is worse.
    """

    additive: float
    mixture: float
    accuracy: float

    @property
    def bits(self) -> float:
        """The larger of both."""
        return max(self.additive, self.mixture)


@cache
def late(law: Law) -> Late:
    """Return the best late fusion on items of a law, whatever their noise."""
    return of_table(law.table)


def of_table(table: Floats) -> Late:
    """Return the best late fusion of a table p(y, z_1, ..., z_M), [C, K_1, ..., K_M]."""
    logits = best_logits(table)
    return Late(
        additive=max(0.0, _entropy(table) + _score(table, logits)),
        mixture=mixture_bits(table),
        accuracy=_accuracy(table, logits),
    )


def best_logits(table: Floats) -> Floats:
    """Return the logits [C, K_1, ..., K_M] of the best log-linear late fusion.

    They minimise the log loss over sums of f_m [C, K_m]: convex, by L-BFGS (Liu & Nocedal,
    Mathematical Programming 1989) from zero. Where the best lies at infinity (the latents are
    certain of y), what is found is finite and within 1e-6 bits of it.
    """
    from scipy.optimize import minimize

    sizes = table.shape[1:]
    total = table.sum(axis=0)
    parts = np.cumsum([table.shape[0] * size for size in sizes])[:-1]

    def summed(flat: Floats) -> Floats:
        logits = np.zeros_like(table)
        for axis, part in enumerate(np.split(flat, parts)):
            logits += part.reshape(_shape(table, axis))
        return logits

    def loss(flat: Floats) -> tuple[float, Floats]:
        logits = summed(flat)
        chances, log_sum = _softmax(logits)
        error = total * chances - table
        slopes = [error.sum(axis=_others(table, axis)).ravel() for axis in range(len(sizes))]
        return float((total * log_sum).sum() - (table * logits).sum()), np.concatenate(slopes)

    start = np.zeros(table.shape[0] * sum(sizes))
    options = {"maxiter": 5000, "maxfun": 20_000, "ftol": 1e-15, "gtol": 1e-9}
    return summed(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x)


def mixture_bits(table: Floats) -> float:
    """Return a bound in bits on H(Y) less the log loss of mixtures with fixed weights.

    With ``u_m(y | z_m) = w_m q_m(y | z_m)`` the expected ``log sum_m u_m`` is concave in u, over a
    polytope. Expectation-maximisation climbs (Dempster, Laird & Rubin, JRSS B 1977), and the
    linear programme over the polytope at the end bounds what is left (Frank & Wolfe 1956); it is
    added, so that the value is no guess however early the climb ends.
    """
    axes = range(table.ndim - 1)
    u = [np.full(_shape(table, axis), 1.0 / table.shape[0] / (table.ndim - 1)) for axis in axes]
    u = [part * (1.0 + _marginal(table, axis)) for axis, part in enumerate(u)]
    u = _fitted(u, [part * _marginal(table, axis) for axis, part in enumerate(u)])
    best, value = np.inf, 0.0
    for _ in range(_ROUNDS):
        mixed = np.broadcast_to(sum(u), table.shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            weight = np.where(table > 0, table / mixed, 0.0)
        slopes = [weight.sum(axis=_others(table, a), keepdims=True) for a in axes]
        value = float((table[table > 0] * np.log2(mixed[table > 0])).sum()) + _entropy(table)
        gap = (max(float(s.max(axis=0).sum()) for s in slopes) - 1.0) / np.log(2)
        best = min(best, value + gap)
        if gap < _GAP:
            break
        u = _fitted(u, [part * slope for part, slope in zip(u, slopes, strict=True)])
    return max(0.0, best)


def _fitted(u: list[Floats], counts: list[Floats]) -> list[Floats]:
    """Return the distributions and weights that expected counts [C, K_m] give."""
    weights = np.array([part.sum() for part in counts])
    weights = weights / weights.sum()
    found = []
    for weight, part, old in zip(weights, counts, u, strict=True):
        total = part.sum(axis=0, keepdims=True)
        never = total <= 0
        fair = old / old.sum(axis=0, keepdims=True)
        found.append(weight * np.where(never, fair, part / np.where(never, 1.0, total)))
    return found


def _others(table: Floats, axis: int) -> tuple[int, ...]:
    """Return the axes of all latents but one."""
    return tuple(other + 1 for other in range(table.ndim - 1) if other != axis)


def _shape(table: Floats, axis: int) -> tuple[int, ...]:
    """Return the shape [C, 1, .., K_m, .., 1] of what sees one latent."""
    sizes = enumerate(table.shape[1:])
    return (table.shape[0], *(size if other == axis else 1 for other, size in sizes))


def _marginal(table: Floats, axis: int) -> Floats:
    return np.asarray(table.sum(axis=_others(table, axis), keepdims=True))


def _softmax(logits: Floats) -> tuple[Floats, Floats]:
    top = logits.max(axis=0)
    raised = np.exp(logits - top)
    total = raised.sum(axis=0)
    return raised / total, np.log(total) + top


def _score(table: Floats, logits: Floats) -> float:
    """Return the expected log probability of the label, in bits; at most 0."""
    _, log_sum = _softmax(logits)
    return float((table * (logits - log_sum)).sum() / np.log(2))


def _accuracy(table: Floats, logits: Floats) -> float:
    """Return how often the likeliest class is right; equals share."""
    best = logits >= logits.max(axis=0) - 1e-6
    return float((table * best / best.sum(axis=0)).sum())


def _entropy(table: Floats) -> float:
    label = table.sum(axis=tuple(range(1, table.ndim)))
    label = label[label > 0]
    return float(-(label * np.log2(label)).sum())
