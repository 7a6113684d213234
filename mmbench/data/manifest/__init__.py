"""Data of one's own: a file of rows, each an item, whose columns a TOML names.

The file is JSONL, CSV, TSV or Parquet, or a folder that ``datasets.save_to_disk`` wrote. A row has
an id, a split (or a rule draws it, by the data seed), a cell for each modality and one for each
output. What the columns are, the task's TOML says: kinds and shapes in ``[modalities]``, kinds and
classes in ``[outputs]``, columns in ``[dataset.params]`` (`Params`). ``mmbench new task FILE``
writes it.

A cell holds numbers or a text itself, or the path of a file: an image, a sound (which becomes a
log-mel spectrogram), a video (grey), a .npy array, an array in an HDF5 file (``FILE.h5#NAME``).
Paths are relative to the manifest's folder or to ``--data``, and one that leads out of it, by
``..`` or by a symbolic link, is refused. Nothing is resized, cut, resampled or made grey unless
the TOML allows it: it is an error that names the row. With ``skip_bad`` bad items are left out
instead, and counted.

Vectors and sequences are **standardised** by the training items' mean and spread unless
``standardise = false``. What is decoded is cached memory-mapped, by the files' names, sizes and
times and by all parameters.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmbench.data import _contents, _hdf5
from mmbench.data._contract import Request
from mmbench.data.manifest import cells
from mmbench.data.manifest import items as _items
from mmbench.data.manifest import params as _params
from mmbench.data.manifest import table as _table
from mmbench.data.manifest.decode import BadItemError
from mmbench.data.manifest.items import Items
from mmbench.data.manifest.modalities import Media, Texts
from mmbench.data.manifest.outputs import Right
from mmbench.data.manifest.params import VERSION, Params
from mmbench.errors import DataError
from mmbench.types import Dataset, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

__all__ = ["VERSION", "Params", "build", "source_digest"]


def build(request: Request) -> Dataset:
    """Read a manifest and what its cells name.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: A file is missing or broken, or an item cannot be used: its row is named.
    """
    params = _params.read(request)
    file = find(request, params)
    items = _items.arrange(_table.read(file), request, params)
    bases = _bases(request, file)
    outputs = {n: Right(n, spec, params, items) for n, spec in request.outputs.items()}
    texts = {n: Texts(n, spec, params, items) for n, spec in request.modalities.items()
             if spec.kind == "text"}  # fmt: skip
    media = {n: Media(n, spec, params, items, bases, request.cache)
             for n, spec in request.modalities.items() if spec.kind != "text"}  # fmt: skip
    if not params.skip_bad:
        items.refuse()
    good = _good(items)
    if params.cluster:  # one name in all splits together, whatever each split says below
        kept = [items.splits[name][i] for name, index in good.items() for i in index]
        _items.grouped(items.table, kept, params.cluster)
    inputs = {n: (texts.get(n) or media[n]).held(good) for n in request.modalities}
    right = {n: output.held(good) for n, output in outputs.items()}
    total = hashlib.sha256()
    splits = {}
    for name, index in good.items():
        rows = [items.splits[name][i] for i in index]
        table = items.table
        splits[name] = Split(
            ids=[row.id for row in rows],
            inputs={n: held.of(name) for n, held in inputs.items()},
            targets={n: targets[name] for n, (_, targets, _) in right.items()},
            references={n: refs[name] for n, (_, _, refs) in right.items()},
            present={n: held.present[name] for n, held in inputs.items() if held.present},
            groups={
                column: np.array([str(own) for own in _items.grouped(table, rows, column)])
                for column in params.groups
            },
            clusters=np.array([str(own) for own in _items.grouped(table, rows, params.cluster)])
            if params.cluster
            else None,
        )
        total.update("\n".join((name, *splits[name].ids)).encode())
        for n, (output, targets, _) in sorted(right.items()):  # a record tells them in this order
            total.update(f"{n} {output}".encode() + targets[name].tobytes())
    for n, held in sorted(inputs.items()):
        total.update(f"{n} {held.fingerprint}".encode())
    signature = Signature(
        {n: held.modality for n, held in inputs.items()},
        {n: output for n, (output, _, _) in right.items()},
    )
    return Dataset(signature, splits, total.hexdigest(), left_out=_left_out(items))


def source_digest(request: Request) -> str:
    """Return a SHA-256 over the manifest and the files that its cells name, whatever is in them.

    Of a dataset folder it is over descriptions and sizes of its files.

    Raises:
        DataError: It is missing or broken.
    """
    params = _params.read(request)
    file = find(request, params)
    told = [_table.digest(file), *_files_digests(request, params, file)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _files_digests(request: Request, params: Params, file: Path) -> list[str]:
    """Return the SHA-256 of each file that is named and can be read, in the table's order."""
    kinds = {name: spec.kind for name, spec in request.modalities.items() if spec.kind != "text"}
    columns = [column for name in kinds for column in _items.columns_of(name, params)]
    bases = _bases(request, file)
    paths: list[Path] = []
    shared: set[Path] = set()
    for row in _table.read(file).rows if columns else ():
        for column in columns:
            try:
                content = cells.media(row.get(column), bases)
            except BadItemError:
                continue  # numbers, or what the loader will name
            if isinstance(content, Path):
                paths.append(content)
            elif isinstance(content, _hdf5.Inside) and content.file not in shared:
                shared.add(content.file)  # one file holds many items
                paths.append(content.file)
    bad: dict[int, str] = {}
    return _contents.digests(request.cache, paths, [""] * len(paths), bad)


def find(request: Request, params: Params) -> Path:
    """Return the manifest: in ``--data``, or else in the folder of the TOML.

    Raises:
        DataError: It is in neither.
    """
    places = [place for place in (request.root, request.home) if place is not None]
    for place in places:
        path = place / params.file
        if path.exists():
            if not path.resolve().is_relative_to(place.resolve()):
                raise DataError(f"{path}: is a symbolic link out of the folder {place}")
            return path
    if not places:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, DIR being "
            f"a folder that holds {params.file}"
        )
    told = " nor ".join(map(str, places))
    raise DataError(
        f"{params.file}: is in neither {told}"
        if len(places) > 1
        else f"{told}: holds no "
        f"{params.file}, the manifest of the task {request.task!r}: --data names its folder"
    )


def _bases(request: Request, file: Path) -> list[Path]:
    folder = file if file.is_dir() else file.parent
    found = [folder.resolve()]
    if request.root is not None:
        found.append(request.root.resolve())
    return list(dict.fromkeys(found))


def _good(items: Items) -> dict[str, Array]:
    """Return the places of the items that are kept, split by split.

    Raises:
        DataError: None is left in a split.
    """
    found: dict[str, Array] = {}
    for name, rows in items.splits.items():
        kept = [i for i, row in enumerate(rows) if row.place not in items.faults]
        if rows and not kept:
            raise DataError(
                f"{items.table.file}: every item of the split {name!r} is bad; the first: "
                f"{items.faults[rows[0].place]}"
            )
        found[name] = np.array(kept, dtype=np.int64)
    return found


def _left_out(items: Items) -> dict[str, list[str]]:
    found = {
        name: [items.faults[row.place] for row in rows if row.place in items.faults]
        for name, rows in items.splits.items()
    }
    return {name: lines for name, lines in found.items() if lines}
