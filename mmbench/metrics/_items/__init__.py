"""Items: predictions beside their references, one file a kind of output.

The file of a kind holds two functions. ``prepare(said, references)`` checks the predictions and
returns the items that metrics of the kind read; ``perfect(references)`` returns predictions that
say exactly what is right. A prediction of None is one that is missing and counts as a failure;
where a kind has no way to fail, ``prepare`` refuses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mmbench.errors import IncompatibleError, UsageError
from mmbench.references import Said

if TYPE_CHECKING:
    from types import ModuleType

    from mmbench.references import References


def prepare(
    said: Said | Sequence[Any],
    references: References,
    columns: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Put predictions beside their references.

    Args:
        said: The predictions, or only their N values.
        references: Of the same N items, in the same order.
        columns: Further columns where `said` is only values (``scores``: probabilities, ...).

    Returns:
        The items, as the metrics of ``references.kind`` read them.

    Raises:
        UsageError: The numbers differ, there is no item, or a prediction is of the wrong type.
    """
    if not isinstance(said, Said):
        ids = [str(place) for place in range(len(said))]
        said = Said(ids, said, dict(columns or {}))
    if len(said) != len(references):
        raise UsageError(
            f"expected one prediction for each item: {len(references)} items, "
            f"{len(said)} predictions"
        )
    if not len(said):
        raise UsageError("there is nothing to score: no predictions and no references")
    return _of(references.kind).prepare(said, references)


def perfect(references: References) -> Said:
    """Return predictions that say exactly what is right."""
    values, columns = _of(references.kind).perfect(references)
    return Said([str(place) for place in range(len(references))], values, columns)


def _of(kind: str) -> ModuleType:
    name = f"{__name__}.{kind}"
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise IncompatibleError(f"there are no metrics for outputs of the kind {kind!r}") from None
