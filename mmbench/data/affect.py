"""Sentiment in speech, word by word: feature files of CMU-MOSI, CMU-MOSEI and CH-SIMS.

Two projects pass such files on, both as a pickle of the splits ``train``, ``valid`` and ``test``,
each a dict of arrays over its N items; they are read by `mmbench.data._unpickle`, which runs
nothing that a pickle could hold.

**MMSA** (Yu et al., CH-SIMS, ACL 2020; https://github.com/thuiar/MMSA): ``text`` [N, L, 768]
(BERT), ``audio`` [N, T, d], ``vision`` [N, T, d], ``regression_labels`` [N], ``id`` [N] such as
``03bSnISJMiM$_$11``. What is real of each item stands in front; its length is ``audio_lengths`` and
``vision_lengths`` where those are there, for text the mask ``text_bert[:, 1]``, and else ends with
the last step that is not all zeros. CH-SIMS has labels of each modality alone too:
``regression_labels_T``, ``_A`` and ``_V``.

**MultiBench** (Liang et al., NeurIPS 2021; https://github.com/pliang279/MultiBench): ``text``
[N, 50, 300] (GloVe), ``audio``, ``vision``, ``labels`` [N, 1, 1], ``id``. Padding stands in front:
as there, an item begins at its first word, and one without a word is left out.

Numbers that are not finite become 0, as both projects have it, and every dimension is standardised
by the real steps of the training items. The video is the cluster. An id that comes twice gets
``#2`` behind it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmbench import catalog
from mmbench.data import _places, _standard, _unpickle
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError, SpecError
from mmbench.references import ScalarReferences
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1

MODALITIES = ("text", "audio", "vision")
#: Output -> the array that holds it: in MMSA's files, in MultiBench's.
OUTPUTS = {
    "sentiment": ("regression_labels", "labels"),
    "sentiment_text": ("regression_labels_T", ""),
    "sentiment_audio": ("regression_labels_A", ""),
    "sentiment_vision": ("regression_labels_V", ""),
}
#: Our names of the splits -> theirs.
_SPLITS = {"test": "test", "train": "train", "val": "valid"}


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``affect``.

    Attributes:
        file: The pickle's name.
        folders: Subfolders of ``--data`` in which it may lie; that itself is looked at first.
        layout: Whose file it is.
        standardise: Whether each number has mean 0 and variance 1 over the training items.
    """

    file: str
    folders: tuple[str, ...] = ()
    layout: Literal["mmsa", "multibench"] = "mmsa"
    standardise: bool = True


def build(request: Request) -> Dataset:
    """Read a feature file; modalities ``text``, ``audio``, ``vision`` [T, d], outputs `OUTPUTS`.

    Raises:
        SpecError: Another version is asked for, or a parameter or an output is unknown.
        DataError: The file is missing, broken, refused or of another layout.
    """
    params = _params(request)
    file = _find(request, params)
    outputs = _outputs(request)
    key = {
        "name": "affect",
        "version": VERSION,
        "params": params,
        "outputs": sorted(outputs),
        "file": _places.sampled_digest(file),
        "modified": file.stat().st_mtime_ns,
        "source": digest_of(__file__, _standard.__file__, _unpickle.__file__),
    }
    entry = cached(request.cache, key, lambda: _make(file, params, outputs))
    shapes = {name: entry.arrays[f"train_{name}"].shape[1:] for name in MODALITIES}
    return Dataset(
        Signature(
            {name: Modality("sequence", tuple(shape)) for name, shape in shapes.items()},
            {name: _output(name, entry, request) for name in outputs},
        ),
        {name: _split(name, entry, outputs) for name in _SPLITS},
        entry.fingerprint,
    )


def source_digest(request: Request) -> str:
    """Return a digest of the file: of its size and both ends.

    Raises:
        DataError: It is missing.
    """
    return _places.sampled_digest(_find(request, _params(request)))


def _params(request: Request) -> Params:
    params = checked(request, "affect", VERSION, Params)
    where = f"{catalog.task_where(request.task)}: dataset.params"
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in params.folders):
        raise SpecError(f"{where}.folders: expected folders inside of --data")
    if Path(params.file).name != params.file or not params.file:
        raise SpecError(f"{where}.file: {params.file!r} is not the bare name of a file")
    return params


def _find(request: Request, params: Params) -> Path:
    folders = ", ".join(params.folders)
    wanted = f"{params.file}" + (f" (or {folders} with it)" if folders else "")
    return _places.find(request, (params.file,), params.folders, wanted)


def _outputs(request: Request) -> list[str]:
    """Return the outputs that the task asks for; the first that there is, if it tells none."""
    for name, output in request.outputs.items():
        if name not in OUTPUTS or output.kind != "scalar":
            raise SpecError(
                f"{catalog.task_where(request.task)}: outputs.{name} ({output.kind}): the dataset "
                f"affect has {', '.join(OUTPUTS)}, all scalar"
            )
    return list(request.outputs) or ["sentiment"]


def _output(name: str, entry: Entry, request: Request) -> Output:
    values = entry.arrays[f"train_{name}"].astype(np.float64)
    told = request.outputs.get(name)
    main = True if told is None else told.main
    return Output(
        "scalar", 1, main=main, offset=float(values.mean()), scale=float(values.std()) or 1.0
    )


def _split(name: str, entry: Entry, outputs: list[str]) -> Split:
    inputs = {
        m: Ragged(entry.arrays[f"{name}_{m}"], entry.arrays[f"{name}_{m}_length"])
        for m in MODALITIES
    }
    targets = {o: entry.arrays[f"{name}_{o}"].astype(np.float64) for o in outputs}
    return Split(
        ids=entry.values["ids"][name],
        inputs=inputs,
        targets=targets,
        references={o: ScalarReferences(values) for o, values in targets.items()},
        present={m: np.asarray(entry.arrays[f"{name}_{m}_length"]) > 0 for m in MODALITIES},
        clusters=np.array(entry.values["videos"][name]),
    )


def _make(file: Path, params: Params, outputs: list[str]) -> Made:
    content = _unpickle.load(file)
    read = {name: _read(content, theirs, file, params) for name, theirs in _SPLITS.items()}
    made: dict[str, Array] = {}
    for modality in MODALITIES:
        values = {name: part.features[modality] for name, part in read.items()}
        lengths = {name: part.lengths[modality] for name, part in read.items()}
        if len({array.shape[1:] for array in values.values()}) > 1:
            raise DataError(f"{file}: {modality} has another shape in each split")
        if params.standardise:
            values = _standard.standardise(values, lengths)
        made |= {f"{name}_{modality}": array for name, array in values.items()}
        made |= {f"{name}_{modality}_length": array for name, array in lengths.items()}
    for name, part in read.items():
        made |= {f"{name}_{o}": part.target(o, params.layout) for o in outputs}
    told = {
        "ids": {name: part.ids for name, part in read.items()},
        "videos": {name: part.videos for name, part in read.items()},
    }
    return made, told


class _Part:
    """One split of a file, its items' real steps in front."""

    def __init__(self, where: str, content: dict[str, Any]) -> None:
        self.where = where
        self.content = content
        self.kept: Array = np.arange(0)
        self.features: dict[str, Array] = {}
        self.lengths: dict[str, Array] = {}
        self.ids: list[str] = []
        self.videos: list[str] = []

    def array(self, name: str, axes: int, count: int | None = None) -> Array:
        """Return an array of the file as numbers.

        Raises:
            DataError: It is not there, or of another shape.
        """
        if name not in self.content:
            known = ", ".join(sorted(str(key) for key in self.content))
            raise DataError(f"{self.where}: lacks {name!r}: it has {known}")
        try:
            array = np.asarray(self.content[name])
            array = array.astype(np.float32 if axes == 3 else np.float64)
        except (TypeError, ValueError):
            raise DataError(f"{self.where}: {name!r} is not an array of numbers") from None
        if array.ndim != axes or (count is not None and len(array) != count):
            items = "" if count is None else f" of {count} items"
            raise DataError(
                f"{self.where}: {name!r} is {list(array.shape)}, expected {axes} axes{items}"
            )
        return array

    def target(self, output: str, layout: str) -> Array:
        """Return [N] float64, what is right of an output."""
        name = OUTPUTS[output][layout == "multibench"]
        if not name:
            raise DataError(f"{self.where}: MultiBench's files have no {output}: only sentiment")
        try:
            flat = np.asarray(self.content[name], dtype=np.float64).squeeze()
        except (KeyError, TypeError, ValueError):
            raise DataError(f"{self.where}: lacks {name!r}, or it is not of numbers") from None
        flat = flat.reshape(1) if flat.ndim == 0 else flat
        if flat.ndim != 1 or len(flat) <= int(self.kept.max(initial=-1)):
            raise DataError(
                f"{self.where}: {name!r} is {list(flat.shape)}, expected a number an item"
            )
        flat = flat[self.kept]
        if not np.isfinite(flat).all():
            row = int(np.flatnonzero(~np.isfinite(flat))[0])
            raise DataError(f"{self.where}: {name!r} of {self.ids[row]} is not a finite number")
        return flat


def _read(content: Any, split: str, file: Path, params: Params) -> _Part:
    if not isinstance(content, dict) or not isinstance(content.get(split), dict):
        told = ", ".join(map(str, content)) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{file}: expected a dict of the splits train, valid and test, each a dict of arrays; "
            f"got {told}"
        )
    part = _Part(f"{file}: {split}", {str(k): v for k, v in content[split].items()})
    text = part.array("text", 3)
    features = {"text": text}
    features |= {m: part.array(m, 3, len(text)) for m in MODALITIES[1:]}
    features = {m: np.nan_to_num(x, nan=0.0, posinf=0.0, neginf=0.0) for m, x in features.items()}
    (_trim_front if params.layout == "multibench" else _lengths_behind)(part, features)
    _name(part)
    return part


def _lengths_behind(part: _Part, features: dict[str, Array]) -> None:
    """MMSA: padding stands behind; lengths are told, or seen."""
    count = len(features["text"])
    part.kept, part.features = np.arange(count), features
    for modality, values in features.items():
        told = f"{modality}_lengths"
        if told in part.content:
            lengths = part.array(told, 1, count)
        elif modality == "text" and "text_bert" in part.content:
            lengths = part.array("text_bert", 3, count)[:, 1].sum(axis=1)
        else:
            real = (values != 0).any(axis=2)  # up to the last step that is not all zeros
            lengths = np.where(real.any(axis=1), values.shape[1] - real[:, ::-1].argmax(axis=1), 0)
        part.lengths[modality] = np.clip(lengths, 0, values.shape[1]).astype(np.int64)


def _trim_front(part: _Part, features: dict[str, Array]) -> None:
    """MultiBench: padding stands in front, and an item begins with its first word."""
    words = (features["text"] != 0).any(axis=2)  # [N, T]
    part.kept = np.flatnonzero(words.any(axis=1))
    start = words[part.kept].argmax(axis=1)
    for modality, values in features.items():
        if values.shape[1] != words.shape[1]:
            raise DataError(
                f"{part.where}: {modality} has {values.shape[1]} steps and text {words.shape[1]}: "
                f"expected the aligned file, whose modalities have the same steps"
            )
        kept = values[part.kept]
        steps = np.arange(values.shape[1]) + start[:, None]  # what moves to each place
        there = steps < values.shape[1]
        moved = np.take_along_axis(kept, np.where(there, steps, 0)[..., None], axis=1)
        part.features[modality] = np.where(there[..., None], moved, 0.0)
        part.lengths[modality] = (values.shape[1] - start).astype(np.int64)


def _name(part: _Part) -> None:
    """Give every item a name of its own, and its video."""
    told = part.content.get("id", part.content.get("ids"))
    if told is None or len(told) <= int(part.kept.max(initial=-1)):
        raise DataError(f"{part.where}: lacks 'id', a name for each item")
    seen: dict[str, int] = {}
    for row in part.kept:
        fields = [_text(field) for field in np.atleast_1d(np.asarray(told[row], dtype=object))]
        name = " ".join(fields)
        seen[name] = seen.get(name, 0) + 1
        part.ids.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        part.videos.append(_video(fields))


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _video(fields: list[str]) -> str:
    """Return the video of an utterance: ``VIDEO$_$11``, ``VIDEO[11]``, ``VIDEO_11``, or alone."""
    first = fields[0]
    if "$_$" in first:
        return first.partition("$_$")[0]
    bracket = re.fullmatch(r"(.+)\[\d+\]", first)
    if bracket:
        return bracket[1]
    numbered = re.fullmatch(r"(.+)_\d+", first) if len(fields) == 1 else None
    return numbered[1] if numbered else first
