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

What is no function of sums (a rank, a pair of items) gives ``whole`` instead of ``value``: from
the rows to the value and to pseudo-values, N numbers whose mean is the value and whose spread is
that of its items. They come from theory (U-statistics, order statistics, the jackknife), so that
the interval and the tests are the same as for everybody else. Where an item's row depends on the
other items too, ``local=False`` says that the rows of a subgroup are not the subgroup's.

Where few different rows are possible, the function may return a `Coded`: these rows, and which of
them each item has. Then a million items cost no more than the rows do. For a metric of sums that
is all; a ``whole`` takes part where it has a parameter ``counts``, the number of items of each row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast, overload

import numpy as np

from mmbench.errors import MmbenchError, UsageError
from mmbench.metrics._coded import Coded

if TYPE_CHECKING:
    from mmbench.types import Floats

    #: Item statistics [N, S]: an array, or what reads as one.
    Rows: TypeAlias = Floats | Coded
    #: From the items to their statistics: [N], or [N, S] with S columns; arrays or `Coded`.
    Stats: TypeAlias = Callable[..., Any]
    #: From sums [..., S] to values [...].
    Value: TypeAlias = Callable[..., Floats]
    #: From rows [N, S] to the value and N pseudo-values.
    Whole: TypeAlias = Callable[..., tuple[float, Floats]]


def _nothing(items: Any) -> str:
    return ""


@dataclass(frozen=True)
class Metric:
    """A metric as the rest of mmbench sees it; made by `metric` or `family`.

    Attributes:
        name: Its name everywhere.
        family: Metrics of one family have the same statistics, computed and stored once.
        stats: From the items (for kind ``text``, a `TextItems`) to [N, S] float64, or a `Coded`.
        value: From sums of statistics [..., S] to values [...]. Must give a number for sums of
            zero, and be differentiable wherever the sums of real items fall. None where there is
            ``whole`` instead.
        columns: The S names of the statistics.
        module: The module that defines it.
        summary: The first line of the docstring of `stats`.
        kind: The kind of output that it scores.
        higher_is_better: Its direction.
        bounds: What no predictor can go beyond, proven; None where there is no such bound.
        wrong: What an item scores of which all is wrong, where its errors have no upper bound but a
            unit (a word): what the interval of a corpus without any error is made of.
        oracle: Whether the score of a task's oracle is a ``bound`` for every predictor, or only a
            ``reference`` (the oracle answers with what is likeliest, which maximises few metrics).
        version: Raised whenever its values change.
        settings: What else its values depend on, as ``key:value|key:value``.
        gradient: The gradient of `value` at sums [S]; None: by differences.
        check: Says why the items cannot be scored, or returns an empty string.
        whole: For a metric that is no function of sums: from rows [N, S] to its value and to N
            pseudo-values, whose mean is the value but for a bias that `whole` documents. With a
            parameter ``counts`` (None: one each) it is given the rows of a `Coded` once each.
        local: Whether an item's row depends on that item alone, so that a subgroup's rows are
            those of the subgroup. (The document frequencies of CIDEr count as given.)
        fewest: Of how many items, at least, there is a value; a correlation of one is none.
        options: What can be asked for in parentheses after the name, with the defaults; `stats`,
            and `value`, `whole` or `check` where they name them, get them as keyword arguments.
        shown: Options that the signature shows at their defaults too, because people report them
            (a normaliser, a number of bins). It shows others only where they differ, so that an
            option that a metric gets later changes no signature.
        changed: Options that `configure` set to something else than the default.
        output: The output that it scores, where it is asked for as ``OUTPUT.METRIC``; empty: the
            main one.
    """

    name: str
    family: str
    stats: Stats
    value: Value | None
    columns: tuple[str, ...]
    module: str
    summary: str = ""
    kind: str = "text"
    higher_is_better: bool = True
    bounds: tuple[float | None, float | None] = (None, None)
    wrong: float | None = None
    oracle: Literal["bound", "reference"] = "reference"
    version: int = 1
    settings: str = ""
    gradient: Callable[[Floats], Floats] | None = field(default=None, repr=False)
    check: Callable[..., str] = field(default=_nothing, repr=False)
    whole: Whole | None = field(default=None, repr=False)
    local: bool = True
    fewest: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    output: str = ""

    def __post_init__(self) -> None:
        if (self.value is None) == (self.whole is None):
            raise UsageError(f"metric {self.name!r}: give either value or whole")

    @property
    def component(self) -> str:
        """What the registry knows it by. Of an instance only: the class is no component."""
        return "metric"

    @property
    def signature(self) -> str:
        """What pins down its values: scores with different signatures are never ranked together."""
        told = {*self.shown, *self.changed}
        given = [f"{key}:{value}" for key, value in self.options.items() if key in told]
        parts = (self.name.partition("(")[0], f"v{self.version}", self.settings, *given)
        return "|".join(part for part in parts if part)

    def configure(self, given: Mapping[str, Any]) -> Metric:
        """Return the metric with other options; its name then shows those that are no defaults.

        Raises:
            UsageError: There is no such option, or its value is of another type.
        """
        given = {
            key: float(v) if type(v) is int and type(self.options.get(key)) is float else v
            for key, v in given.items()
        }
        for key, value in given.items():
            if key not in self.options:
                known = ", ".join(self.options) or "none"
                raise UsageError(f"metric {self.name!r}: has no option {key!r}; it has: {known}")
            default = self.options[key]
            if default is not None and type(value) is not type(default):
                raise UsageError(
                    f"metric {self.name!r}: option {key}: expected a value like {default!r}, "
                    f"got {value!r}"
                )
        changed = {key: v for key, v in given.items() if v != self.options[key]}
        if not changed:
            return self
        inside = ", ".join(f"{key}={changed[key]}" for key in self.options if key in changed)
        return replace(
            self,
            name=f"{self.name}({inside})",
            family=f"{self.family}({inside})",
            options={**self.options, **changed},
            changed=tuple(changed),
        )

    def of_output(self, output: str) -> Metric:
        """Return the metric as one of a named output: ``mae`` becomes ``intensity.mae``."""
        name, family = f"{output}.{self.name}", f"{output}.{self.family}"
        return replace(self, name=name, family=family, output=output)

    def require(self, items: Any) -> None:
        """Raise UsageError where the items cannot be scored with this metric."""
        self.require_count(len(items))
        reason = self.check(items, **_named(self.check, self.options))
        if reason:
            raise UsageError(f"metric {self.name!r}: {reason}")

    def require_count(self, items: int) -> None:
        """Raise UsageError where so many items are too few for a value."""
        if items < self.fewest:
            raise UsageError(
                f"metric {self.name!r}: says nothing of {items} item{'s' * (items != 1)}: score at "
                f"least {self.fewest}"
            )

    def measure(self, items: Any) -> Floats:
        """Return the statistics [N, S] of the items, checked.

        A `Coded` where the metric's function returns one: typed as the array that it reads as.

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
        broken = _not_finite(rows)
        if broken is not None:
            raise UsageError(f"metric {self.name!r}: its function is not finite on item {broken}")
        return cast("Floats", rows)

    def _rows(self, items: Any) -> Rows:
        try:
            found = self.stats(items, **self.options)
            return found if isinstance(found, Coded) else np.asarray(found, dtype=np.float64)
        except Exception as error:
            # The user's code: whatever it raises becomes one line. Our own keeps its traceback.
            if isinstance(error, MmbenchError) or self.module.startswith("mmbench."):
                raise
            raise UsageError(
                f"metric {self.name!r}: its function failed: {type(error).__name__}: {error}"
            ) from error

    def of_sums(self, sums: Floats) -> Floats:
        """Return the values [...] of sums [..., S]. Only for a metric that has `value`."""
        if self.value is None:
            raise UsageError(f"metric {self.name!r}: is no function of sums of item statistics")
        return np.asarray(self.value(sums, **_named(self.value, self.options)), dtype=np.float64)

    def of_rows(self, rows: Rows) -> tuple[float, Floats]:
        """Return value and pseudo-values [N] of rows [N, S]. Only for one that has `whole`."""
        value, pseudo = self.of_distinct(rows)
        return value, rows.spread(pseudo) if isinstance(rows, Coded) else pseudo

    def of_distinct(
        self, rows: Rows, clusters: Sequence[Any] | None = None
    ) -> tuple[float, Floats]:
        """Return what `of_rows` does, of a `Coded` one pseudo-value for each row of its table.

        Args:
            rows: [N, S].
            clusters: [N] the unit of each item, handed to a `whole` that asks for it (one that
                leaves items out in groups); such a one gets all rows and gives N pseudo-values.
        """
        if self.whole is None:
            raise UsageError(f"metric {self.name!r}: is a function of sums: use of_sums")
        options = _named(self.whole, self.options)
        if clusters is not None and self.sees_clusters:
            return self.whole(np.asarray(rows), clusters=clusters, **options)
        if not isinstance(rows, Coded):
            return self.whole(rows, **options)
        if _named(self.whole, {"counts": None}):
            return self.whole(rows.table, counts=rows.counts, **options)
        value, pseudo = self.whole(np.asarray(rows), **options)
        of_code = np.full(len(rows.table), value)  # equal items have equal pseudo-values
        of_code[rows.codes] = pseudo
        return value, of_code

    @property
    def sees_clusters(self) -> bool:
        """Whether `whole` asks for the items' clusters."""
        return self.whole is not None and bool(_named(self.whole, {"clusters": None}))

    def of(self, rows: Rows) -> float:
        """Return the value of rows [N, S], whichever form the metric has."""
        if self.whole is not None:
            return float(self.of_distinct(rows)[0])
        return float(self.of_sums(rows.sum(axis=0)))


def _not_finite(rows: Rows) -> int | None:
    """Return the first item whose row is not finite, None where all are."""
    table = rows.table if isinstance(rows, Coded) else rows
    finite = np.isfinite(table)
    if finite.all():
        return None
    whole = np.asarray(finite.reshape(len(table), -1).all(axis=1))
    broken = np.flatnonzero(~(rows.spread(whole) if isinstance(rows, Coded) else whole))
    return int(broken[0]) if len(broken) else None


def _named(function: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that a function has parameters for."""
    if not options:
        return {}
    known = _parameters(function)
    return {key: value for key, value in options.items() if key in known}


@lru_cache(maxsize=256)
def _parameters(function: Callable[..., Any]) -> frozenset[str]:
    return frozenset(inspect.signature(function).parameters)


@overload
def metric(stats: Stats, /) -> Metric: ...


@overload
def metric(
    *,
    columns: tuple[str, ...] = ...,
    value: Value | None = ...,
    whole: Whole | None = ...,
    **fields: Any,
) -> Callable[[Stats], Metric]: ...


def metric(
    stats: Stats | None = None,
    /,
    *,
    columns: tuple[str, ...] = (),
    value: Value | None = None,
    whole: Whole | None = None,
    **fields: Any,
) -> Metric | Callable[[Stats], Metric]:
    """Make a metric of one function; its name is the function's name.

    Args:
        stats: The function, from the items to [N] scores (the metric is their mean), or, where
            `columns` and `value` are given, to [N, S] statistics.
        columns: The names of the S statistics.
        value: From their sums [..., S] to values [...].
        whole: Instead of `value`: from the rows to the value and pseudo-values.
        **fields: Further fields of `Metric`: ``bounds``, ``higher_is_better``, ``version``, ...

    >>> @metric(bounds=(0.0, None), higher_is_better=False)
    ... def words_spoken(items):
    ...     "Mean number of words."
    ...     return [len(text.split()) for text in items.predictions]
    >>> words_spoken.columns, words_spoken.signature
    (('words_spoken', 'count'), 'words_spoken|v1')
    """

    def make(function: Stats) -> Metric:
        name = function.__name__
        if value is not None:
            return family(function, name=name, columns=columns, values={name: value}, **fields)[0]
        if whole is None:
            return _of_mean(function, name, fields)
        fields.update(whole=whole, columns=columns, family=name, name=name)
        return Metric(value=None, stats=function, **{**_origin(function), **fields})

    if (value is None and whole is None) != (not columns):
        raise UsageError(
            "@metric: columns belong to value or whole: give columns and one of them, or neither"
        )
    return make if stats is None else make(stats)


def family(
    stats: Stats,
    *,
    name: str,
    columns: tuple[str, ...],
    values: Mapping[str, Value],
    **fields: Any,
) -> list[Metric]:
    """Make several metrics that read the same statistics, in the order of `values`.

    Args:
        stats: From the items to [N, S] statistics.
        name: The family's name.
        columns: The names of the S statistics.
        values: Name of the metric -> its function from sums [..., S] to values [...].
        **fields: Further fields of `Metric`, the same for all.
    """
    common: dict[str, Any] = {"family": name, "stats": stats, "columns": columns, **_origin(stats)}
    return [Metric(name=key, value=value, **{**common, **fields}) for key, value in values.items()]


def _origin(stats: Stats) -> dict[str, Any]:
    summary = (stats.__doc__ or "").strip().partition("\n")[0]
    return {"module": stats.__module__, "summary": summary}


def _of_mean(function: Stats, name: str, fields: Mapping[str, Any]) -> Metric:
    """Make the metric that is the mean of one score an item."""

    def rows(items: Any, **options: Any) -> Rows:
        found = function(items, **options)
        if isinstance(found, Coded):
            return found.with_table(_counted(found.table[:, 0]))
        return _counted(np.asarray(found, dtype=np.float64))

    rows.__module__, rows.__doc__ = function.__module__, function.__doc__
    given = {"gradient": _mean_gradient, **fields}
    return family(rows, name=name, columns=(name, "count"), values={name: _mean}, **given)[0]


def _counted(scores: Floats) -> Floats:
    return np.stack([scores, np.ones_like(scores)], axis=-1)


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
