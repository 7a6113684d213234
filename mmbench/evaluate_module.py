"""Our metrics as modules of Hugging Face's evaluate: `mmbench.as_evaluate`."""

from __future__ import annotations

import importlib
import tempfile
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mmbench import registry
from mmbench.errors import IncompatibleError, MissingExtraError, UsageError
from mmbench.evaluation import score
from mmbench.metrics import perfect, prepare
from mmbench.references import LabelReferences, ScalarReferences, TextReferences

if TYPE_CHECKING:
    from mmbench.metrics import Metric
    from mmbench.references import References

#: Kind of output -> types of its predictions, in the order in which they are tried.
_TYPES = {"text": ("string",), "label": ("string", "int64"), "scalar": ("float64",)}
_INPUTS = """
Args:
    predictions: One for each item: {said}.
    references: For each item {truth}.
    clusters: When all is computed: for each item the unit (speaker, video) that it belongs to.
Returns:
    {name}, {name}_low, {name}_high: the score and the ends of its 95 % interval over the items.
"""


def as_evaluate(name: str) -> Any:
    """Return a metric of ours as an ``evaluate.Metric``.

    It does what modules of that library do (``add``, ``add_batch``, ``compute``, and is one of
    ``evaluate.combine([...])``), keeps what it is given in memory, and returns what `mmbench.score`
    says of it: ``{name: value, name_low: ..., name_high: ...}``.

    Args:
        name: Of a metric of texts (with one reference an item, a string, or several, a list), of
            classes (names or numbers) or of numbers; with options, ``wer(normalizer=english)``.

    Raises:
        IncompatibleError: The metric scores outputs of another kind, or needs more than
            predictions and references (probabilities, slots).
        UnknownNameError: No metric has that name.
        MissingExtraError: evaluate is not installed.
    """
    registry.permit(name)  # whoever calls this from Python could as well run the code
    metric = registry.load("metric", name)
    if metric.kind not in _TYPES:
        raise IncompatibleError(
            f"metric {name!r}: scores outputs of the kind {metric.kind!r}, which evaluate has no "
            f"form for: expected a metric of the kind {', '.join(_TYPES)}; mmbench.score scores all"
        )
    reason = _lacking(metric)
    if reason:
        raise IncompatibleError(f"as_evaluate: metric {name!r}: {reason}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the imports of others
            library, data = (importlib.import_module(part) for part in ("evaluate", "datasets"))
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name}, which as_evaluate needs,", "metrics") from None

    class ScoredByMmbench(library.Metric):  # type: ignore[name-defined,misc]
        def _info(self) -> Any:
            return library.MetricInfo(
                description=metric.summary,
                citation="",
                inputs_description=_described(name, metric.kind),
                features=_features(data, metric.kind),
            )

        def _compute(
            self,
            predictions: Sequence[Any],
            references: Sequence[Any],
            clusters: Sequence[Any] | None = None,
        ) -> dict[str, float]:
            if not len(predictions):
                raise UsageError(f"metric {name!r}: there are no predictions: add some first")
            scores = score(predictions, references, metrics=[name], clusters=clusters).scores
            (found,) = scores.values()
            return {
                name: float(found.value),
                f"{name}_low": float(found.low),
                f"{name}_high": float(found.high),
            }

    # The library makes its folder at once, and with keep_in_memory never writes into it.
    with tempfile.TemporaryDirectory(prefix="mmbench-evaluate-") as folder:
        made = ScoredByMmbench(keep_in_memory=True, cache_dir=folder)
    made._module_info.module_name = name
    return made


#: Items of each kind on which nothing but further columns can be lacking.
_PROBES: dict[str, References] = {
    "text": TextReferences([("a b c d e",), ("f g h i j",)]),
    "label": LabelReferences(np.arange(100), tuple(map(str, range(100)))),
    "scalar": ScalarReferences(np.array([-1.0, 1.0])),
}


def _lacking(metric: Metric) -> str:
    """Say what a metric of ours lacks where there are only predictions and references."""
    if not metric.module.startswith("mmbench.") or metric.name.partition(":")[2]:
        return ""  # what others need, they say when they are computed
    truth = _PROBES[metric.kind]
    values = perfect(truth).values
    return metric.check(prepare(values, truth))


def _features(data: Any, kind: str) -> list[Any]:
    """Return the forms that items may have, as alternatives of ``datasets.Features``."""
    values = [data.Value(dtype) for dtype in _TYPES[kind]]
    found = [data.Features({"predictions": value, "references": value}) for value in values]
    if kind == "text":
        several = data.Sequence(values[0])
        found.append(data.Features({"predictions": values[0], "references": several}))
    return found


def _described(name: str, kind: str) -> str:
    said, truth = {
        "text": ("a text", "a text, or a list of texts"),
        "label": ("the name or the number of a class", "the right one"),
        "scalar": ("a number", "the right one"),
    }[kind]
    return _INPUTS.format(name=name, said=said, truth=truth)
