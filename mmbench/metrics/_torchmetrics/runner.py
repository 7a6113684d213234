"""Runs a metric of torchmetrics: states of single items, and the value of states or of items.

The one file of the metrics that knows torch, for it hands tensors to a library that is made of it;
it is imported only when a metric of that library is asked for.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mmbench.errors import MmbenchError, UsageError

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

#: So many items go through the library in one piece to see whether their states add up.
_SAMPLE = 32
#: Step of the differences where the library computes in single precision, relative to the sums.
_COARSE = float(np.cbrt(np.finfo(np.float32).eps))


@contextmanager
def calling(name: str) -> Iterator[None]:
    """Call the library: in double precision, quietly; what it raises becomes one line.

    Args:
        name: The metric, for the message.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MmbenchError:
        raise
    except Exception as error:  # the library's code: whatever it raises is the user's one line
        line = str(error).strip().partition("\n")[0]
        raise UsageError(f"metric {name!r}: {type(error).__name__}: {line}") from error
    finally:
        torch.set_default_dtype(before)


class Runner:
    """A metric of torchmetrics, run on items as numpy arrays or texts.

    Args:
        name: Its name, for messages.
        make: Returns a fresh metric of the library.
        key: Which number of its result is meant, where it gives several: a name or a place, or
            several of them where numbers stand in lists of a list.
    """

    def __init__(self, name: str, make: Callable[[], Any], key: Any = None) -> None:
        self.name, self._make = name, make
        self.path = () if key is None else key if isinstance(key, (list, tuple)) else (key,)
        with calling(name):
            self.blank = self.make()
        state = self.blank.metric_state
        self.shapes = {
            part: tuple(tensor.shape) for part, tensor in state.items() if _is_tensor(tensor)
        }
        self.lists = [part for part in state if part not in self.shapes]

    def make(self) -> Any:
        """Return a fresh metric of the library, its states in double precision."""
        metric = self._make()
        metric.set_dtype(torch.float64)
        return metric

    @property
    def adds_up(self) -> bool:
        """Whether all states are tensors that the library itself adds up over processes."""
        from torchmetrics.utilities import dim_zero_sum

        reductions = self.blank._reductions.values()
        return not self.lists and all(how is dim_zero_sum for how in reductions)

    @property
    def width(self) -> int:
        """The number S of numbers in its tensor states."""
        return sum(math.prod(shape) for shape in self.shapes.values())

    def names(self) -> tuple[str, ...]:
        """Return the S names of the numbers in its tensor states."""
        return tuple(
            "_".join([part, *map(str, place)])
            for part, shape in self.shapes.items()
            for place in np.ndindex(shape)
        )

    # --- items -> states -------------------------------------------------------------------------

    def states(self, inputs: Sequence[Any]) -> Floats:
        """Return [N, S] the states after each item alone.

        Numbers go through the library's ``update`` once for all items, by `torch.func.vmap`, where
        its code can be vectorised (all of regression, most of classification by classes); else,
        and for texts, ``update`` runs once an item, at 0.1 to 0.5 ms.

        Args:
            inputs: What ``update`` takes, each N long: arrays, or lists of texts.

        Raises:
            UsageError: The library refuses the items, or their states do not add up, which would
                make an interval of them wrong.
        """
        texts = not isinstance(inputs[0], np.ndarray)
        few = [part[:_SAMPLE] for part in inputs]
        with calling(self.name):
            given = few if texts else [torch.from_numpy(part) for part in inputs]
            together = self._after(given)
            rows = self._loop(inputs) if texts else self._batched(given)
            added = rows[: len(few[0])].sum(axis=0) if texts else rows.sum(axis=0)
        size = np.abs(rows).sum(axis=0)
        if not (np.abs(added - together) <= 1e-9 * size + 1e-12).all():
            raise UsageError(
                f"metric {self.name!r}: the states of torchmetrics do not add up over items, "
                f"although it says so: this metric cannot be scored here"
            )
        return rows

    def _after(self, inputs: Sequence[Any]) -> Floats:
        metric = self.make()
        metric.update(*inputs)
        return _flat(metric, self.shapes).numpy()

    def _loop(self, inputs: Sequence[Any]) -> Floats:
        pairs = zip(*inputs, strict=True)
        metric, rows = self.make(), []
        for pair in pairs:
            metric.reset()
            metric.update(*[part[None] if _is_tensor(part) else [part] for part in pair])
            rows.append(_flat(metric, self.shapes))
        return torch.stack(rows).numpy()

    def _batched(self, inputs: Sequence[torch.Tensor]) -> Floats:
        metric = self.make()
        if hasattr(metric, "validate_args"):
            metric.validate_args = False  # done for all items at once, and not to be vectorised
        size = len(inputs[0])
        zeros = [torch.zeros((size, *shape)) for shape in self.shapes.values()]

        def one(item: Sequence[torch.Tensor], start: Sequence[torch.Tensor]) -> torch.Tensor:
            for part, zero in zip(self.shapes, start, strict=True):
                setattr(metric, part, zero)
            metric.update(*[value[None] for value in item])
            return _flat(metric, self.shapes)

        try:
            rows: Floats = torch.func.vmap(one)(list(inputs), zeros).numpy()
        except (RuntimeError, ValueError):  # branches on what is in the data
            return self._loop(inputs)
        return rows

    def entries(self, inputs: Sequence[Any]) -> Floats:
        """Return [N, S] what each item adds to the list states, for a metric that has only those.

        Raises:
            UsageError: The library refuses the items, or an item does not add one number a list.
        """
        with calling(self.name):
            metric, count = self.make(), len(inputs[0])
            metric.update(*inputs)
            columns = [
                torch.cat([entry.reshape(-1).double() for entry in getattr(metric, part)])
                for part in self.lists
            ]
            if any(len(column) != count for column in columns):
                raise UsageError(
                    f"metric {self.name!r}: does not keep one number for each item, so that no "
                    f"interval can be had"
                )
            return torch.stack(columns, dim=1).numpy()

    # --- states or items -> value ----------------------------------------------------------------

    def of_sums(self, sums: Floats) -> Floats:
        """Return values [...] of sums of states [..., S]; of no items, 0."""
        flat = np.asarray(sums, dtype=np.float64).reshape(-1, self.width)
        with calling(self.name):
            metric = self.make()
            found = [self._number(self._of_state(metric, row)) if row.any() else 0 for row in flat]
        return np.array(found, dtype=np.float64).reshape(np.shape(sums)[:-1])

    def of_entries(self, rows: Floats) -> float:
        """Return the value of list states that hold the rows [N, S]."""
        with calling(self.name):
            metric = self.make()
            for part, column in zip(self.lists, torch.from_numpy(rows).unbind(1), strict=True):
                setattr(metric, part, list(column.unbind()))
            return self._number(metric.compute())

    def of_items(self, inputs: Sequence[Array]) -> float:
        """Return the value of items."""
        with calling(self.name):
            metric = self.make()
            metric.update(*[torch.from_numpy(part) for part in inputs])
            return self._number(metric.compute())

    def gradient(self, sums: Floats) -> Floats:
        """Return the gradient [S] of the value at sums of at least 0, by coarse differences."""
        steps = _COARSE * np.abs(sums)
        moves = np.diag(steps)
        changes = self.of_sums(sums + moves) - self.of_sums(sums - moves)
        return np.divide(changes, 2 * steps, out=np.zeros_like(sums), where=steps > 0)

    def is_single(self) -> bool:
        """Whether the library computes the value of states in single precision.

        Raises:
            UsageError: As `of_sums`, where the value is several numbers.
        """
        with calling(self.name):
            try:
                result = self._of_state(self.make(), np.ones(self.width))
            except Exception:  # no items have such states: then nothing is known
                return False
            result = self._chosen(result)
        return _is_tensor(result) and result.dtype == torch.float32

    def _of_state(self, metric: Any, numbers: Floats) -> Any:
        start = 0
        for part, shape in self.shapes.items():
            stop = start + math.prod(shape)
            setattr(metric, part, torch.from_numpy(numbers[start:stop]).reshape(shape).clone())
            start = stop
        return metric.compute()

    def _chosen(self, result: Any) -> Any:
        """Return the one number of a result that is meant.

        Raises:
            UsageError: There are several and none was chosen, or not that one.
        """
        for step in self.path:
            if _is_number(result) or step not in _places(result):
                break
            result = result[step]
        if _is_number(result):
            return result
        known = ", ".join(map(repr, _places(result)[:8]))
        raise UsageError(
            f"metric {self.name!r}: gives several numbers: choose one with key=, of the places "
            f"{known}; or average them, where it has average="
        )

    def _number(self, result: Any) -> float:
        return float(self._chosen(result))


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _is_number(result: Any) -> bool:
    return isinstance(result, (int, float)) or (_is_tensor(result) and result.numel() == 1)


def _places(result: Any) -> list[Any]:
    return list(result) if isinstance(result, dict) else list(range(len(result)))


def _flat(metric: Any, parts: Sequence[str] | dict[str, Any]) -> torch.Tensor:
    return torch.cat([getattr(metric, part).reshape(-1).to(torch.float64) for part in parts])
