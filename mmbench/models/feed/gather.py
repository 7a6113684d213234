"""Rows of several arrays, gathered on the host and brought to the model's device.

To a GPU they go through pinned buffers, on a stream of its own beside that on which the model
computes: a copy from pinned memory is made by the GPU itself, and neither the thread that asks for
it nor the model waits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any, TypeAlias

import torch
from torch import Tensor

from mmbench.models.feed.rows import Index, Rows

#: What an array is to a batch (``inputs``, ``lengths``, ``present``, ``targets``), and its name.
Key: TypeAlias = tuple[str, str]
#: Buffers that are filled in turn: one is copied while another is filled.
BUFFERS = 3


@dataclass(frozen=True)
class Source:
    """Where rows come from, the shape of one and its type."""

    rows: Rows
    shape: tuple[int, ...]
    dtype: torch.dtype


class Gather:
    """Gathers rows to tensors of their own; the model is on the CPU."""

    def __init__(self, sources: Mapping[Key, Source]) -> None:
        self.sources = sources

    def __call__(self, index: Index) -> dict[Key, Tensor]:
        """Return the rows `index` [B] of each source as [B, ...]."""
        found = {}
        for key, source in self.sources.items():
            found[key] = torch.empty((len(index), *source.shape), dtype=source.dtype)
            source.rows.read(index, found[key].numpy())
        return found

    def arrive(self, sent: Any) -> dict[Key, Tensor]:
        """Make what was gathered safe to compute with."""
        return sent  # type: ignore[no-any-return]


@dataclass
class _Buffers:
    """Pinned memory for one batch, and what says that its last copy is done."""

    room: dict[Key, Tensor] = field(default_factory=dict)
    copied: Any = None


@dataclass(frozen=True)
class Sent:
    """Rows on their way: there once `copied` has happened."""

    columns: dict[Key, Tensor]
    copied: Any


class Sender(Gather):
    """Gathers rows to pinned buffers and sends them to a GPU.

    Args:
        sources: Where rows come from.
        device: The GPU.
    """

    def __init__(self, sources: Mapping[Key, Source], device: torch.device) -> None:
        super().__init__(sources)
        self.device = device
        self._stream = self._side_stream()
        self._free: SimpleQueue[_Buffers] = SimpleQueue()
        for _ in range(BUFFERS):
            self._free.put(_Buffers())

    def __call__(self, index: Index) -> Sent:  # type: ignore[override]
        """Gather the rows `index` [B] of each source and start to copy them."""
        buffers = self._free.get()
        try:
            if buffers.copied is not None:
                buffers.copied.synchronize()
            filled = {}
            for key, source in self.sources.items():
                filled[key] = self._room(buffers, key, source, len(index))
                source.rows.read(index, filled[key].numpy())
            sent = self._send(filled)
            buffers.copied = sent.copied
        finally:
            self._free.put(buffers)
        return sent

    def arrive(self, sent: Sent) -> dict[Key, Tensor]:
        """Let the model's stream, not this thread, wait for the copies."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(sent.copied)
        for tensor in sent.columns.values():
            tensor.record_stream(stream)  # made on the other one, whose allocator knows no better
        return sent.columns

    def _room(self, buffers: _Buffers, key: Key, source: Source, count: int) -> Tensor:
        """Return pinned memory for `count` rows; it grows with the largest batch."""
        there = buffers.room.get(key)
        if there is None or len(there) < count:
            there = buffers.room[key] = self._pinned((count, *source.shape), source.dtype)
        return there[:count]

    def _side_stream(self) -> Any:
        return torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]

    def _pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    def _send(self, filled: Mapping[Key, Tensor]) -> Sent:
        with torch.cuda.device(self.device), torch.cuda.stream(self._stream):
            columns = {k: x.to(self.device, non_blocking=True) for k, x in filled.items()}
            # Whoever waits for it sleeps.
            copied = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            copied.record()
        return Sent(columns, copied)
