"""Where each array of a split is held: on the model's device, in memory, or on the disk.

Arrays are held as near as they fit. Those of all splits that are in use at a time share what is
allowed (`mmbench.room`), on the host and on each GPU by itself.
"""

from __future__ import annotations

import functools
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mmbench.models.feed.gather import Key
from mmbench.models.feed.rows import lies_in_file
from mmbench.room import Allowance, available_memory, readable, sharers
from mmbench.types import Array, Ragged, Split

HOST = "cpu"


def columns(split: Split, modalities: Sequence[str], size: int, targets: bool) -> dict[Key, Array]:
    """Return the arrays of the first `size` items of a split that a batch is made of."""
    found: dict[Key, Array] = {}
    for name in modalities:
        values = split.inputs[name]
        if isinstance(values, Ragged):
            found["lengths", name] = values.lengths[:size]
            values = values.values
        found["inputs", name] = values[:size]
        there = split.present.get(name)
        found["present", name] = np.ones(size, dtype=bool) if there is None else there[:size]
    if targets:
        found |= {("targets", name): array[:size] for name, array in split.targets.items()}
    return found


@dataclass(frozen=True)
class Places:
    """Where arrays are held.

    Attributes:
        device: Those that are on the model's device, whole.
        host: Those that are in memory and go to a GPU batch by batch.
        disk: Those that are read from their files batch by batch.
        taken: Device -> bytes that they take there.
        spare: Bytes of the host's memory that batches made ahead may take.
    """

    device: tuple[Key, ...] = ()
    host: tuple[Key, ...] = ()
    disk: tuple[Key, ...] = ()
    taken: Mapping[str, int] = field(default_factory=dict)
    spare: int = 0


def place(arrays: Mapping[Key, Array], device: torch.device, allowed: Allowance) -> Places:
    """Choose where arrays are held; nothing is read yet."""
    taken: dict[str, int] = {}
    near: set[Key] = set()
    if device.type != HOST:
        sizes = {key: array.nbytes for key, array in arrays.items()}
        near = _fitting(sizes, left(allowed, device))
        taken[str(device)] = sum(sizes[key] for key in near)
    # What is in memory already takes nothing more, wherever else it might go.
    sizes = {
        key: array.nbytes if lies_in_file(array) else 0
        for key, array in arrays.items()
        if key not in near
    }
    room = left(allowed, torch.device(HOST))
    kept = _fitting(sizes, room)
    taken[HOST] = sum(sizes[key] for key in kept)
    disk = tuple(key for key in sizes if key not in kept)
    rest = tuple(key for key in sizes if key in kept)
    spare = max(0, room - taken[HOST])
    if device.type == HOST:
        return Places(rest, (), disk, taken, spare)
    return Places(tuple(key for key in arrays if key in near), rest, disk, taken, spare)


def _fitting(sizes: Mapping[Key, int], room: int) -> set[Key]:
    """Return what fits: all, or else the smallest that fit into half, the rest for batches."""
    if sum(sizes.values()) <= room:
        return set(sizes)
    found: set[Key] = set()
    used = 0
    for key in sorted(sizes, key=lambda key: (sizes[key], key)):
        used += sizes[key]
        if used > room // 2:
            break
        found.add(key)
    return found


def streaming(
    splits: Mapping[str, tuple[Split, int, bool]],
    modalities: Sequence[str],
    device: torch.device,
    allowed: Allowance,
) -> list[str]:
    """Say, in a line each, which splits will be read from the disk while they are used.

    Args:
        splits: Name -> split, items of it that are used, whether their targets are.
        modalities: Those that the model looks at; for retrieval, either side has some of them.
        device: Where the model is.
        allowed: What data may take.
    """
    lines = []
    for name, (split, size, targets) in splits.items():
        own = [modality for modality in modalities if modality in split.inputs]
        arrays = columns(split, own, size, targets)
        places = place(arrays, device, allowed)
        if places.disk:
            what = ", ".join(key[1] for key in places.disk)
            bytes_ = readable(sum(arrays[key].nbytes for key in places.disk))
            room = readable(left(allowed, torch.device(HOST)))
            lines.append(
                f"{name} is read from the disk while it is used ({what}: {bytes_}; data may take "
                f"{room} of memory: --memory); its batches are the same"
            )
    return lines


# --- what is held, by all splits together --------------------------------------------------------

_lock = threading.Lock()
_held: Counter[str] = Counter()


def left(allowed: Allowance, device: torch.device) -> int:
    """Return the bytes that more data of this process may take on a device."""
    part = allowed.of(_available(device)) // sharers(device.type == HOST)
    return max(0, part - _held[str(device)])


def hold(taken: Mapping[str, int]) -> None:
    """Count what is held from now on."""
    with _lock:
        _held.update(taken)


def release(taken: Mapping[str, int]) -> None:
    """Count what is held no more."""
    with _lock:
        _held.subtract(taken)


@functools.cache
def _available(device: torch.device) -> int | None:
    """Return what there was when it was first asked for: before anything was held."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory() if device.type == HOST else None


def bytes_of(arrays: Iterable[Array]) -> int:
    """Return the bytes of one row of each array."""
    return sum(array[:1].nbytes for array in arrays)
