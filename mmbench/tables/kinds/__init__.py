"""What columns mean, by kind of output: one file a kind, two functions in each.

``truth(references, rows, predictions, given)`` makes of a table what predictions are compared
with; ``said(predictions, rows, truth, given)`` makes of another what was predicted, in the order
of the items. Metrics never see a table. ``USUAL`` lists what its columns are usually called.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mmbench.errors import IncompatibleError

if TYPE_CHECKING:
    from types import ModuleType

    from mmbench.references import References
    from mmbench.tables.table import Table


class Answers(NamedTuple):
    """What was predicted for N items.

    Attributes:
        values: N predictions, a list or an array; None where there is none.
        columns: Further columns, N values each (``scores``: probabilities, ...).
    """

    values: Any
    columns: Mapping[str, Any]


def truth(
    kind: str,
    references: Table,
    rows: Sequence[Sequence[int]],
    predictions: Table,
    given: Mapping[str, str],
) -> References:
    """Return what predictions are compared with.

    Args:
        kind: The kind of output.
        references: The table.
        rows: For each of N items, its rows; at least one.
        predictions: The other table: where classes are not listed, those that it names count too.
        given: Role -> the column that was named for it.

    Raises:
        UsageError: A column is missing, or several would do.
        DataError: A cell does not hold what the kind needs: one line with file and line.
        IncompatibleError: Tables do not say enough for outputs of this kind.
    """
    found: References = _of(kind).truth(references, rows, predictions, given)
    return found


def said(
    predictions: Table, rows: Sequence[int | None], truth: References, given: Mapping[str, str]
) -> Answers:
    """Return what was predicted, in the order of the items.

    Args:
        predictions: The table.
        rows: For each of N items, the row of its prediction, or None.
        truth: What they will be compared with.
        given: Role -> the column that was named for it.

    Raises:
        UsageError: A column is missing, or several would do.
        DataError: A cell does not hold what the kind needs: one line with file and line.
    """
    found: Answers = _of(truth.kind).said(predictions, rows, truth, given)
    return found


def names() -> set[str]:
    """Return what columns of any kind are usually called."""
    found: set[str] = set()
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            found.update(_of(module.name).USUAL)
    return found


def _of(kind: str) -> ModuleType:
    name = f"{__name__}.{kind}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise IncompatibleError(f"no table can be read for outputs of the kind {kind!r}") from None
