"""A split, cut into batches by index, on the model's device.

Where the items lie depends on how much memory there is; what a batch holds does not, to the bit:

- on the device, if they fit: a batch is one indexing operation an array. On a CPU prepared data
  are mapped, not copied, so processes on one machine share them;
- in memory, if the GPU has too little: rows are gathered into pinned buffers and copied on a
  stream of their own;
- on the disk, beyond what data may take of the memory: rows are read from the files of prepared
  data, a few batches ahead.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Iterable, Sequence
from itertools import chain
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmbench.models.feed import placing
from mmbench.models.feed.ahead import Ahead
from mmbench.models.feed.gather import Gather, Key, Sender, Source
from mmbench.models.feed.placing import streaming
from mmbench.models.feed.rows import File, Held, Index, Rows
from mmbench.models.feed.texts import Texts
from mmbench.room import USUAL, Allowance
from mmbench.types import Array, Batch, Split

__all__ = ["AHEAD", "Feed", "streaming"]

#: Batches that are made ahead at most.
AHEAD = 4


class Feed:
    """Holds the items of a split, or knows where they lie, and makes batches of them.

    A batch can be asked for at random. Where `plan` has said which come next, those are made on a
    thread while the model computes; the thread ends with `close`, which is also what leaving
    ``with Feed(...)`` does.

    Args:
        split: The items.
        device: Where batches are wanted.
        modalities: Those that the model looks at.
        limit: Use the first `limit` items only.
        targets: Whether training targets are needed.
        memory: What all feeds that are in use may take together.

    Raises:
        DataError: A file of prepared data cannot be read.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device,
        modalities: Sequence[str],
        limit: int | None = None,
        targets: bool = False,
        memory: Allowance = USUAL,
    ) -> None:
        self.size = len(split) if limit is None else min(limit, len(split))
        self.device = device
        arrays = placing.columns(split, modalities, self.size, targets)
        self.places = placing.place(arrays, device, memory)
        sources = {key: _source(arrays[key], Held(arrays[key])) for key in self.places.host}
        sources |= {key: _source(arrays[key], File(arrays[key])) for key in self.places.disk}
        on_host = device.type == placing.HOST or not sources
        self._gather = Gather(sources) if on_host else Sender(sources, device)
        self._ahead: Ahead[Any] = Ahead(self._gather)
        self._columns = list(arrays)
        self._row = placing.bytes_of(arrays[key] for key in sources)
        self._held = {key: _tensor(arrays[key]).to(device) for key in self.places.device}
        placing.hold(self.places.taken)
        self._released = weakref.finalize(self, placing.release, self.places.taken)
        self._texts = {
            key[1]: Texts(key[1], sources[key].rows if key in sources else Held(array), array)
            for key, array in arrays.items()
            if key[0] == "targets" and array.ndim == 3
        }

    def __len__(self) -> int:
        return self.size

    def __enter__(self) -> Feed:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the thread and give up what is held; no batch can be asked for any more."""
        self._ahead.close()
        self._held.clear()
        self._released()

    def plan(self, order: Iterable[Index]) -> None:
        """Say which batches come next, so that they can be made ahead.

        What is asked for may differ; it is then made on the spot. Nothing happens where all is held
        on the device.

        Args:
            order: The indices of the batches to come, which may go on for ever. It is read on the
                caller's thread, up to `AHEAD` steps ahead of the batches that are asked for.
        """
        if not self._gather.sources:
            return
        order = iter(order)
        first = next(order, None)
        if first is None:
            return
        # One batch is in use and one is being made, others wait if there is room for them.
        fitting = self.places.spare // max(self._row * len(first), 1) - 1
        self._ahead.plan(chain([first], order), min(max(fitting, 1), AHEAD))

    def expect(self, order: Iterable[tuple[int, Index]], seed: int) -> None:
        """Say which batches of training come next, as `plan` does, each with its epoch."""
        del seed  # of several target texts one is picked when all of them are there
        self.plan(index for _, index in order)

    def batch(self, index: Index, seed: int = 0, epoch: int = 0) -> Batch:
        """Return the items `index`; where an item has several target texts, one by `seed`.

        Raises:
            DataError: A file of prepared data cannot be read any more.
        """
        found: dict[Key, Tensor] = {}
        if self._gather.sources:
            found |= self._gather.arrive(self._ahead.take(index))
        if self._held:
            rows = torch.from_numpy(index).to(self.device)
            found |= {key: x.index_select(0, rows) for key, x in self._held.items()}
        for name, texts in self._texts.items():
            found["targets", name] = texts.pick(found["targets", name], index, seed, epoch)
        parts: dict[str, dict[str, Tensor]] = {
            part: {} for part in ("inputs", "lengths", "present", "targets")
        }
        for part, name in self._columns:
            parts[part][name] = found[part, name]
        return Batch(size=len(index), **parts)


def _source(array: Array, rows: Rows) -> Source:
    kind = torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype
    return Source(rows, array.shape[1:], kind)


def _tensor(array: Array) -> Tensor:
    """Return an array as a tensor, its memory shared: batches are copies, so nothing writes to it.

    A mapped array is read-only, which torch cannot know and warns of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            return torch.from_numpy(array)
        except ValueError:  # laid out backwards, in memory or in each number
            return torch.from_numpy(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
