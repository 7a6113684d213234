"""What a metric is: item statistics that add up, and a smooth value of their sums.

One function and one decorator make a metric. The simplest returns one score an item; the metric
is their mean::

    from mmbench.metrics import metric

    @metric
    def exact_match(items):
        "Share of predictions that equal a reference."
        pairs = zip(items.predictions, items.references, strict=True)
        return [float(text in references) for text, references in pairs]

A metric of the corpus gives several statistics an item and says what becomes of their sums
(``columns`` and ``value``); several metrics of the same statistics are a `family`. In this form
one deterministic interval, one paired test, subgroups and clusters hold for every metric, and all
of them can be computed later from the stored statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np

from mmbench.errors import MmbenchError, UsageError

if TYPE_CHECKING:
    from mmbench.types import Floats

    #: From the items to their statistics: [N], or [N, S] with S columns.
    Stats: TypeAlias = Callable[[Any], Any]
    #: From sums [..., S] to values [...].
    Value: TypeAlias = Callable[[Floats], Floats]


def _nothing(items: Any) -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """A metric as the rest of mmbench sees it; made by `metric` or `family`.

    Attributes:
        name: Its name everywhere.
        family: Metrics of one family have the same statistics, computed and stored once.
        stats: From the items (for kind ``text``, a `TextItems`) to [N, S] float64.
        value: From sums of statistics [..., S] to values [...]. Must give a number for sums of
            zero, and be differentiable wherever the sums of real items fall.
        columns: The S names of the statistics.
        module: The module that defines it.
        summary: The first line of the docstring of `stats`.
        kind: The kind of output that it scores.
        higher_is_better: Its direction.
        bounds: What no predictor can go beyond, proven; None where there is no such bound.
        oracle: Whether the score of a task's oracle is a ``bound`` for every predictor, or only a
            ``reference`` (the oracle answers with what is likeliest, which maximises few metrics).
        version: Raised whenever its values change.
        settings: What else its values depend on, as ``key:value|key:value``.
        gradient: The gradient of `value` at sums [S]; None: by differences.
        check: Says why the items cannot be scored, or returns an empty string.
    """

    name: str
    family: str
    stats: Stats
    value: Value
    columns: tuple[str, ...]
    module: str
    summary: str = ""
    kind: str = "text"
    higher_is_better: bool = True
    bounds: tuple[float | None, float | None] = (None, None)
    oracle: Literal["bound", "reference"] = "reference"
    version: int = 1
    settings: str = ""
    gradient: Callable[[Floats], Floats] | None = field(default=None, repr=False)
    check: Callable[[Any], str] = field(default=_nothing, repr=False)

    @property
    def component(self) -> str:
        """What the registry knows it by. Of an instance only: the class is no component."""
        return "metric"

    @property
    def signature(self) -> str:
        """What pins down its values: scores with different signatures are never ranked together."""
        return "|".join(part for part in (self.name, f"v{self.version}", self.settings) if part)

    def require(self, items: Any) -> None:
        """Raise UsageError where the items cannot be scored with this metric."""
        reason = self.check(items)
        if reason:
            raise UsageError(f"metric {self.name!r}: {reason}")

    def measure(self, items: Any) -> Floats:
        """Return the statistics [N, S] of the items, checked.

        Raises:
            UsageError: The items cannot be scored with this metric, or its function returned
                something else than one finite row an item.
        """
        self.require(items)
        rows = self._rows(items)
        expected = (len(items), len(self.columns))
        if rows.shape != expected:
            raise UsageError(
                f"metric {self.name!r}: its function must return one row for each item, "
                f"shape {expected}, got {rows.shape}"
            )
        if not np.isfinite(rows).all():
            item = int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])
            raise UsageError(f"metric {self.name!r}: its function is not finite on item {item}")
        return rows

    def _rows(self, items: Any) -> Floats:
        try:
            return np.asarray(self.stats(items), dtype=np.float64)
        except Exception as error:
            # The user's code: whatever it raises becomes one line. Our own keeps its traceback.
            if isinstance(error, MmbenchError) or self.module.startswith("mmbench."):
                raise
            raise UsageError(
                f"metric {self.name!r}: its function failed: {type(error).__name__}: {error}"
            ) from error


@overload
def metric(stats: Stats, /) -> Metric: ...


@overload
def metric(
    *,
    columns: tuple[str, ...] = ...,
    value: Value | None = ...,
    **options: Any,
) -> Callable[[Stats], Metric]: ...


def metric(
    stats: Stats | None = None,
    /,
    *,
    columns: tuple[str, ...] = (),
    value: Value | None = None,
    **options: Any,
) -> Metric | Callable[[Stats], Metric]:
    """Make a metric of one function; its name is the function's name.

    Args:
        stats: The function, from the items to [N] scores (the metric is their mean), or, where
            `columns` and `value` are given, to [N, S] statistics.
        columns: The names of the S statistics.
        value: From their sums [..., S] to values [...].
        **options: Further fields of `Metric`: ``bounds``, ``higher_is_better``, ``version``, ...

    >>> @metric(bounds=(0.0, None), higher_is_better=False)
    ... def words_spoken(items):
    ...     "Mean number of words."
    ...     return [len(text.split()) for text in items.predictions]
    >>> words_spoken.columns, words_spoken.signature
    (('words_spoken', 'count'), 'words_spoken|v1')
    """

    def make(function: Stats) -> Metric:
        name = function.__name__
        if value is None:
            return _of_mean(function, name, options)
        return family(function, name=name, columns=columns, values={name: value}, **options)[0]

    if (value is None) != (not columns):
        raise UsageError("@metric: columns and value belong together: give both, or neither")
    return make if stats is None else make(stats)


def family(
    stats: Stats,
    *,
    name: str,
    columns: tuple[str, ...],
    values: Mapping[str, Value],
    **options: Any,
) -> list[Metric]:
    """Make several metrics that read the same statistics, in the order of `values`.

    Args:
        stats: From the items to [N, S] statistics.
        name: The family's name.
        columns: The names of the S statistics.
        values: Name of the metric -> its function from sums [..., S] to values [...].
        **options: Further fields of `Metric`, the same for all.
    """
    common: dict[str, Any] = {
        "family": name,
        "stats": stats,
        "columns": columns,
        "module": stats.__module__,
        "summary": (stats.__doc__ or "").strip().partition("\n")[0],
    }
    return [Metric(name=key, value=value, **{**common, **options}) for key, value in values.items()]


def _of_mean(function: Stats, name: str, options: Mapping[str, Any]) -> Metric:
    """Make the metric that is the mean of one score an item."""

    def rows(items: Any) -> Floats:
        scores = np.asarray(function(items), dtype=np.float64)
        return np.stack([scores, np.ones_like(scores)], axis=-1)

    rows.__module__, rows.__doc__ = function.__module__, function.__doc__
    settings = {"gradient": _mean_gradient, **options}
    return family(rows, name=name, columns=(name, "count"), values={name: _mean}, **settings)[0]


def _mean(sums: Floats) -> Floats:
    return ratio(sums[..., 0], sums[..., 1])


def _mean_gradient(sums: Floats) -> Floats:
    mean = float(sums[0] / sums[1])
    return np.array([1.0, -mean]) / float(sums[1])


def ratio(numerator: Floats, denominator: Floats) -> Floats:
    """Return ``numerator / denominator``, and 0 where the denominator is 0."""
    out: Floats = np.zeros(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)))
    np.divide(numerator, denominator, out=out, where=np.not_equal(denominator, 0))
    return out


def influence(metric: Metric, stats: Floats) -> Floats:
    """Return how far each item moves the value: psi [N], which add up to 0.

    ``psi_i = grad value(S) . (s_i - S / N)`` with ``S`` the sum of the rows. To first order,
    leaving item i out changes the value by ``-psi_i`` (the infinitesimal jackknife: Efron, The
    Jackknife, the Bootstrap and Other Resampling Plans, 1982). For the mean of scores x this is
    ``(x_i - mean) / N``.

    Args:
        metric: Says what the value of the sums is.
        stats: The rows [N, S] of its items.
    """
    sums = stats.sum(axis=0)
    gradient = metric.gradient or (lambda at: _differences(metric.value, at, np.abs(stats).sum(0)))
    return np.asarray((stats - sums / len(stats)) @ gradient(sums), dtype=np.float64)


def pseudo_values(metric: Metric, stats: Floats) -> Floats:
    """Return [N] numbers whose mean is the metric's value and whose spread is that of its items.

    They are ``value + N * psi_i``; for a mean, the scores themselves. What holds for means of
    items then holds for every metric (see `mmbench.stats.crossed`).

    Raises:
        UsageError: The metric has no finite value or gradient at these statistics.
    """
    with np.errstate(all="ignore"):
        value = metric.value(stats.sum(axis=0))
        pseudo = np.asarray(value + len(stats) * influence(metric, stats), dtype=np.float64)
    if not np.isfinite(pseudo).all():
        raise UsageError(f"metric {metric.name!r}: its value of these items is not finite")
    return pseudo


#: Step of the differences, relative to the size of a sum. The truncation error falls with its
#: square, the rounding error with its inverse: the cube root of the precision balances the two.
_STEP = float(np.cbrt(np.finfo(np.float64).eps))


def _differences(value: Value, sums: Floats, size: Floats) -> Floats:
    """Return the gradient [S] of `value` at `sums` by central differences.

    Args:
        value: The function.
        sums: Where, [S].
        size: The sum of the absolute statistics [S]: a column of zeros moves nothing, and stepping
            there would leave the range of possible sums.
    """
    steps = _STEP * size
    moves = np.diag(steps)
    changes = value(sums + moves) - value(sums - moves)
    return ratio(np.asarray(changes), 2 * steps)
