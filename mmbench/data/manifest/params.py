"""What a TOML says of a manifest: ``[dataset.params]`` of the dataset ``manifest``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from mmbench import catalog
from mmbench.data._contract import Request, checked
from mmbench.errors import SpecError, nearest
from mmbench.registry import usual_encoder
from mmbench.spec import Above0, Count, Positive

VERSION = 1

Columns = str | tuple[str, ...]
Share = Annotated[float, Meta(gt=0.0, lt=1.0)]


class Source(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a modality stands, and what may be done to it. What is not allowed here is an error.

    Attributes:
        column: Its column; its own name if not given. Of a vector, several columns of numbers too.
        optional: Whether a cell may be blank: the item then lacks the modality.
        resize: An image of another size is resized, its proportions not kept.
        grey: A coloured image becomes grey where the shape has one channel; a video, always.
        cut: What is longer than the shape (steps, words, frames) is cut off behind.
        standardise: Numbers get mean 0 and variance 1 over the training items.
        rate: Samples a second that sounds have to have.
        resample: Sounds of another rate are resampled.
        mono: Sounds of several channels are averaged into one.
        window_ms: Length of a spectrogram's windows.
        hop_ms: From one window to the next.
        every: Of a video, each so-many-th frame is taken.
        tokenizer: Of a text, ``ptb`` or ``words``.
        min_count: How often a word stands in training texts to have a place of its own.
        longest: Characters of a text at most.
    """

    column: Columns = ""
    optional: bool = False
    resize: bool = False
    grey: bool = False
    cut: bool = False
    standardise: bool = True
    rate: Count = 0
    resample: bool = False
    mono: bool = False
    window_ms: Above0 = 25.0
    hop_ms: Above0 = 10.0
    every: Positive = 1
    tokenizer: Literal["ptb", "words"] = "ptb"
    min_count: Positive = 1
    longest: Positive = 2000


class Target(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where what is right stands.

    Attributes:
        column: Its column; the output's own name if not given.
        separator: Between the classes of a multilabel cell, or the texts of a cell.
        max_length: Of texts, tokens of a training target at most, the end mark included.
        cut: A longer text is cut there where it is learned from; as a reference it stays whole.
        tokenizer: Of texts, ``ptb`` or ``words``.
        min_count: How often a word stands in training texts to have a place of its own.
        longest: Characters of a text at most.
    """

    column: str = ""
    separator: str = ""
    max_length: Positive = 20
    cut: bool = False
    tokenizer: Literal["ptb", "words"] = "ptb"
    min_count: Positive = 1
    longest: Positive = 2000


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``manifest``.

    Attributes:
        file: The manifest: a JSONL, CSV, TSV or Parquet file, or a folder that
            ``datasets.save_to_disk`` wrote; relative to ``--data``, or to the TOML's folder.
        id: The column of names; empty: items are called by their rows.
        split: The column that says in which split an item is.
        names: What that column says -> the task's split; an empty one leaves the items out.
        shares: Instead of a column: split -> its share of the items. Who goes where is drawn by
            the data seed and the names alone.
        validation: Where the column `split` knows only train and test: the share of the training
            items that validates, drawn as `shares` are.
        group: With `shares` or `validation`, a column (speaker, video) whose items stay together.
        cluster: The column of what items share, for intervals.
        groups: Columns to report subgroups by.
        modalities: Modality -> where it stands; what is not named stands in the column of its name.
        targets: Output -> where it stands.
        skip_bad: Whether items that cannot be read are left out, counted and recorded.
    """

    file: str
    id: str = "id"
    split: str = ""
    names: dict[str, str] = {}
    shares: dict[str, Share] = {}
    validation: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    group: str = ""
    cluster: str = ""
    groups: tuple[str, ...] = ()
    modalities: dict[str, Source] = {}
    targets: dict[str, Target] = {}
    skip_bad: bool = False


#: Kind of modality -> the keys of a `Source` that mean something there, beside column and optional.
_KEYS = {
    "image": {"resize", "grey"},
    "video": {"cut", "every", "grey"},
    "spectrogram": {"cut", "rate", "resample", "mono", "window_ms", "hop_ms"},
    "sequence": {"cut", "standardise"},
    "vector": {"standardise"},
    "text": {"cut", "tokenizer", "min_count", "longest"},
}
_OTHER_KEYS = {"cut"}
_TARGET_KEYS = {
    "label": set[str](),
    "multilabel": {"separator"},
    "scalar": set[str](),
    "text": {"separator", "max_length", "cut", "tokenizer", "min_count", "longest"},
}
_AXES = {"image": 3, "video": 3, "spectrogram": 3, "sequence": 2, "vector": 1, "text": 1}


def read(request: Request) -> Params:
    """Return a task's parameters, held against its modalities and outputs.

    Raises:
        SpecError: Another version is asked for, or a key is wrong or means nothing where it stands.
    """
    params = checked(request, "manifest", VERSION, Params)
    where = f"{catalog.task_where(request.task)}: dataset.params"
    file = Path(params.file)
    if not params.file or file.is_absolute() or ".." in file.parts:
        raise SpecError(f"{where}.file: {params.file!r} is no path inside of the data's folder")
    if bool(params.split) == bool(params.shares):
        raise SpecError(f"{where}: expected either split (a column) or shares, a table of shares")
    if params.validation and params.shares:
        raise SpecError(f"{where}.validation: goes with split; shares name the share of val")
    if params.group and not (params.shares or params.validation):
        raise SpecError(
            f"{where}.group: goes with shares or validation; what items share is called cluster"
        )
    if params.shares:
        _check_shares(params.shares, request, where)
    for told in params.names.values():
        if told and told not in request.splits:
            known = ", ".join(request.splits)
            raise SpecError(f"{where}.names: {told!r} is no split of the task: {known}")
    kinds = {n: m.kind for n, m in request.modalities.items()}
    # Whatever an encoder is for can be read, as arrays of numbers in .npy files.
    others = {k: _OTHER_KEYS for k in kinds.values() if k not in _KEYS and usual_encoder(k)}
    _check(params.modalities, kinds, _KEYS | others, f"{where}.modalities")
    _check(params.targets, {n: o.kind for n, o in request.outputs.items()}, _TARGET_KEYS,
           f"{where}.targets")  # fmt: skip
    for name, modality in request.modalities.items():
        axes = _AXES.get(modality.kind, max(1, len(modality.shape)))
        if len(modality.shape) != axes:
            raise SpecError(
                f"{catalog.task_where(request.task)}: modalities.{name}.shape: expected "
                f"{axes} numbers of a {modality.kind}, got {list(modality.shape)}"
            )
    return params


def _check_shares(shares: Mapping[str, float], request: Request, where: str) -> None:
    if set(shares) != set(request.splits):
        raise SpecError(
            f"{where}.shares: names {', '.join(shares)}, but the task's splits are "
            f"{', '.join(request.splits)}"
        )
    total = sum(shares.values())
    if abs(total - 1.0) > 1e-6:
        raise SpecError(f"{where}.shares: add up to {total:g}, expected 1")


def _check(
    given: Mapping[str, Source] | Mapping[str, Target],
    kinds: Mapping[str, str],
    keys: Mapping[str, set[str]],
    where: str,
) -> None:
    for name, kind in kinds.items():
        if kind not in keys:
            known = ", ".join(keys)
            raise SpecError(f"{where}.{name}: a manifest has no {kind!r}: expected one of {known}")
    for name, told in given.items():
        if name not in kinds:
            near = nearest(name, kinds)
            offer = f"did you mean {near!r}? " if near else ""
            raise SpecError(f"{where}.{name}: {offer}the task has {', '.join(kinds)}")
        kind = kinds[name]
        if isinstance(told, Source) and isinstance(told.column, tuple) and kind != "vector":
            raise SpecError(f"{where}.{name}.column: several columns make a vector, not a {kind}")
        for item in msgspec.structs.fields(told):
            key = item.encode_name
            if key in ("column", "optional") or key in keys[kind]:
                continue
            if getattr(told, key) != item.default:
                fitting = ", ".join(sorted(keys[kind])) or "column"
                raise SpecError(f"{where}.{name}.{key}: means nothing for a {kind}: {fitting} do")
