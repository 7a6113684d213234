"""YouTube-8M: what a video is about, from features of its pictures and of its sound.

Abu-El-Haija et al. 2016, "YouTube-8M: a large-scale video classification benchmark",
arXiv:1609.08675, in the TFRecord files of its version of 2018 (https://research.google.com/youtube8m):
``trainXXXX.tfrecord`` and ``validateXXXX.tfrecord`` in one folder. A record is a video: ``id``,
``labels`` (numbers), and either ``mean_rgb`` [1024] and ``mean_audio`` [128] (video level), or for
each second ``rgb`` and ``audio``, the same in 8 bits a number, from -2 to 2 (frame level).

The videos for the test are those of ``validate``, since the labels of the published test videos are
kept back. The set has millions of them, and who has some of its files has enough: in the order of
the files' names and of the records in them, the first so many of ``train`` validate and the next so
many train, and the first so many of ``validate`` test. Each video is its own independent unit.

Labels are numbered by how often they occur, the most frequent first; the set's ``vocabulary.csv``
says what they are. Of these the task asks for as many as its TOML names classes, the first ones.
Features are standardised by the training items.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np

from mmbench import catalog
from mmbench.data import _building, _left_out, _standard, _tfrecord
from mmbench.data._cache import Entry, Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.errors import DataError, SpecError
from mmbench.references import MultilabelReferences
from mmbench.spec import Positive
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array, Floats

VERSION = 1

#: Modality -> numbers of a video, or of a second of it.
MODALITIES = {"rgb": 1024, "audio": 128}
OUTPUT = "labels"
#: Split -> the published part that it is of.
PARTS = {"val": "train", "train": "train", "test": "validate"}


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``youtube8m``.

    Attributes:
        folders: Subfolders of ``--data`` in which the files may lie; that itself is looked at
            first.
        level: ``video``: one vector a video and modality; ``frame``: one a second.
        vocabulary: How many labels the version has: 3,862 that of 2018.
        frames: Seconds of a video at most; a longer one is an error.
        every: At frame level, of every so many seconds the first is taken.
        standardise: Whether each number has mean 0 and variance 1 over the training items.
        skip_bad: Whether videos that cannot be read are left out, counted and recorded.
    """

    folders: tuple[str, ...] = ()
    level: Literal["video", "frame"] = "video"
    vocabulary: Positive = 3862
    frames: Positive = 300
    every: Positive = 1
    standardise: bool = True
    skip_bad: bool = False


@dataclass(frozen=True)
class _Job:
    """A video as a process gets it."""

    file: Path
    number: int
    place: int
    params: Params

    @property
    def label(self) -> str:
        return f"{self.file}: record {self.number}"


def build(request: Request) -> Dataset:
    """Read videos; decode them once, then open them from the cache.

    Modalities: ``rgb`` [1024] and ``audio`` [128], or with ``level = "frame"`` [T, 1024] and
    [T, 128]. Output: ``labels``, any number of classes.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or too few.
        MissingExtraError: What reads TFRecords is not installed.
    """
    params = _params(request)
    jobs = _jobs(_find(request, params), request, params)
    entry = _decoded(jobs, request, params)
    bad = _left_out.of_splits(entry, jobs)
    good = {name: np.array([k for k in range(len(jobs[name])) if k not in bad[name]])
            for name in jobs}  # fmt: skip
    standard = _standardised(entry, jobs, good, request, params)
    steps = -(-params.frames // params.every)
    modalities = {
        name: Modality("vector", (size,))
        if params.level == "video"
        else Modality("sequence", (steps, size))
        for name, size in MODALITIES.items()
    }
    classes = _classes(request)
    splits, start = {}, 0
    for name, held in jobs.items():
        place = slice(start, start + len(held))
        splits[name] = _split(name, entry, place, standard, classes, params)
        start += len(held)
    _check_ids(splits, jobs, bad)
    told = f"{entry.fingerprint}{standard.fingerprint}"
    dataset = Dataset(
        Signature(modalities, {OUTPUT: Output("multilabel", len(classes), classes)}),
        splits,
        hashlib.sha256(told.encode()).hexdigest(),
    )
    return _left_out.without(dataset, bad)


def source_digest(request: Request) -> str:
    """Return a SHA-256 over the names and sizes of the files.

    Raises:
        DataError: There is none.
    """
    files = _find(request, _params(request))
    told = [f"{file.name} {file.stat().st_size}" for held in files.values() for file in held]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _params(request: Request) -> Params:
    params = checked(request, "youtube8m", VERSION, Params)
    where = catalog.task_where(request.task)
    if not 0 < len(_classes(request)) <= params.vocabulary:
        raise SpecError(
            f"{where}: outputs.{OUTPUT}.classes: names "
            f"{len(_classes(request))} classes, expected 1 to {params.vocabulary}, the vocabulary's"
        )
    if any(Path(name).is_absolute() or ".." in Path(name).parts for name in params.folders):
        raise SpecError(f"{where}: dataset.params.folders: expected folders inside of --data")
    if params.level == "video" and params.every != 1:
        raise SpecError(f'{where}: dataset.params.every: means nothing where level is "video"')
    return params


def _classes(request: Request) -> tuple[str, ...]:
    output = request.outputs.get(OUTPUT)
    return () if output is None else output.classes


def _find(request: Request, params: Params) -> dict[str, list[Path]]:
    """Return the files of both parts, by name."""
    wanted = f"a folder that holds trainXXXX.tfrecord and validateXXXX.tfrecord ({params.level})"
    if request.root is None:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, DIR being "
            f"{wanted}"
        )
    for folder in ("", *params.folders):
        place = request.root / folder
        found = {
            part: sorted(place.glob(f"{part}*.tfrecord")) for part in dict.fromkeys(PARTS.values())
        }
        if all(found.values()):
            return found
    told = " or ".join(f"{folder}/" for folder in params.folders)
    raise DataError(
        f"{request.root}: neither it nor {told} holds trainXXXX.tfrecord and "
        f"validateXXXX.tfrecord: task {request.task!r} expects --data (or MMBENCH_DATA) to name "
        f"{wanted}"
    )


def _jobs(
    files: Mapping[str, Sequence[Path]], request: Request, params: Params
) -> dict[str, list[_Job]]:
    """Find the records of each split, those of one part one behind the other."""
    found: dict[str, list[_Job]] = {}
    for part, held in files.items():
        wanted = {name: request.splits.get(name, 0) for name in PARTS if PARTS[name] == part}
        needed = sum(wanted.values())
        records: list[_Job] = []
        for file in held:
            if len(records) >= needed:
                break
            places = _tfrecord.places(file)
            records += [_Job(file, k, place, params) for k, place in enumerate(places)]
        if len(records) < needed:
            raise DataError(
                f"{held[0].parent}: {len(held)} files of {part!r} hold {len(records):,} videos, "
                f"task {request.task!r} expects {needed:,}: fetch more of them, or make a task "
                f"with fewer"
            )
        for name, count in wanted.items():
            found[name], records = records[:count], records[count:]
    return found


# --- videos to arrays ----------------------------------------------------------------------------


def _decoded(jobs: Mapping[str, Sequence[_Job]], request: Request, params: Params) -> Entry:
    rows = [job for held in jobs.values() for job in held]
    listed = hashlib.sha256()
    for file in dict.fromkeys(job.file for job in rows):
        seen = file.stat()
        listed.update(f"{file.name} {seen.st_size} {seen.st_mtime_ns}\n".encode())
    key = {
        "name": "youtube8m",
        "version": VERSION,
        "params": params,
        "splits": {name: len(held) for name, held in jobs.items()},
        "files": listed.hexdigest(),
        "source": digest_of(__file__, _tfrecord.__file__, _building.__file__),
    }
    return _building.prepared(request.cache, key, rows, _item, part=1024, skip=params.skip_bad)


def _item(job: _Job) -> dict[str, Array]:
    """Make what is kept of a video: features [T, d], labels [k], the letters of its id."""
    found = _tfrecord.example(_tfrecord.read(job.file, job.place, job.label), job.label)
    params = job.params
    made: dict[str, Array] = {"labels": _labels(found.features, job)}
    for name in ("id", "video_id"):
        told = found.features.get(name)
        if isinstance(told, list) and told:
            made["id"] = np.frombuffer(told[0], dtype=np.uint8)
    if not len(made.get("id", ())):
        raise DataError(f"{job.label}: has no id")
    for name, size in MODALITIES.items():
        if params.level == "video":
            made[name] = _mean(found.features.get(f"mean_{name}"), f"mean_{name}", size, job)
        else:
            made[name] = _frames(found.lists.get(name, []), name, size, job)
    if len(made["rgb"]) != len(made["audio"]):
        raise DataError(
            f"{job.label}: has {len(made['rgb'])} seconds of rgb and {len(made['audio'])} of audio"
        )
    return made


def _labels(features: Mapping[str, Any], job: _Job) -> Array:
    told = features.get("labels")
    if not isinstance(told, np.ndarray) or told.dtype != np.int64 or not len(told):
        raise DataError(f"{job.label}: labels: expected one whole number at least")
    if told.min() < 0 or told.max() >= job.params.vocabulary:
        raise DataError(
            f"{job.label}: has a label outside of 0 to {job.params.vocabulary - 1}: "
            f"dataset.params.vocabulary is that of another version"
        )
    return told


def _mean(told: Any, name: str, size: int, job: _Job) -> Array:
    if not isinstance(told, np.ndarray) or told.dtype != np.float32 or told.shape != (size,):
        raise DataError(f'{job.label}: {name}: expected {size} numbers (level = "video")')
    if not np.isfinite(told).all():
        raise DataError(f"{job.label}: {name}: holds a number that is not finite")
    return told[None]


def _frames(told: Sequence[Any], name: str, size: int, job: _Job) -> Array:
    """Return the bytes of every so many seconds: [T, d] uint8."""
    if not told:
        raise DataError(f'{job.label}: {name}: has no second (level = "frame")')
    if len(told) > job.params.frames:
        raise DataError(
            f"{job.label}: {name}: has {len(told)} seconds, and dataset.params.frames = "
            f"{job.params.frames}"
        )
    for second, content in enumerate(told):
        if not isinstance(content, list) or [len(one) for one in content] != [size]:
            raise DataError(f"{job.label}: {name}: second {second}: expected {size} bytes")
    kept = b"".join(content[0] for content in told[:: job.params.every])
    return np.frombuffer(kept, dtype=np.uint8).reshape(-1, size)


def dequantised(values: Array) -> Floats:
    """Return what bytes stand for, as the publishers' reader has it: 0 to 255 -> -2 to 2."""
    return np.asarray(values * (4.0 / 255.0) + (4.0 / 512.0 - 2.0))


def _standardised(
    entry: Entry,
    jobs: Mapping[str, Sequence[_Job]],
    good: Mapping[str, Array],
    request: Request,
    params: Params,
) -> Entry:
    """Return the features as float32, in units of the training items' spread."""

    def make() -> Made:
        arrays: dict[str, Array] = {}
        for modality in MODALITIES:
            values, lengths, start = {}, {}, 0
            for name, held in jobs.items():
                place = slice(start, start + len(held))
                start += len(held)
                raw = np.asarray(entry.arrays[modality][place])
                lengths[name] = np.asarray(entry.arrays[f"{modality}_lengths"][place])
                wide = dequantised(raw) if params.level == "frame" else raw
                values[name] = wide.astype(np.float32)
                values[name][~_standard.real(raw, lengths[name])] = 0.0
            if params.standardise:
                known = good["train"]
                of = {"known": values["train"][known], **values}
                steps = {"known": lengths["train"][known], **lengths}
                values = _standard.standardise(of, steps, train="known")
                del values["known"]
            for name, made in values.items():
                arrays[f"{name}_{modality}"] = made
        return arrays, {}

    key = {
        "name": "youtube8m_standard",
        "of": entry.fingerprint,
        "params": params,
        "splits": {name: len(held) for name, held in jobs.items()},
        "source": digest_of(__file__, _standard.__file__),
    }
    return cached(request.cache, key, make)


def _split(
    name: str, entry: Entry, place: slice, standard: Entry, classes: tuple[str, ...], params: Params
) -> Split:
    told, counts = entry.arrays["labels"][place], entry.arrays["labels_lengths"][place]
    there = np.zeros((len(counts), len(classes)), dtype=np.int8)
    for row, own, count in zip(there, told, counts, strict=True):
        row[own[:count][own[:count] < len(classes)]] = 1
    letters, lengths = entry.arrays["id"][place], entry.arrays["id_lengths"][place]
    inputs: dict[str, Array | Ragged] = {}
    for modality in MODALITIES:
        values = standard.arrays[f"{name}_{modality}"]
        if params.level == "video":
            inputs[modality] = values[:, 0]
        else:
            inputs[modality] = Ragged(values, entry.arrays[f"{modality}_lengths"][place])
    return Split(
        ids=[
            bytes(own[:count]).decode("latin-1")
            for own, count in zip(letters, lengths, strict=True)
        ],
        inputs=inputs,
        targets={OUTPUT: there},
        references={OUTPUT: MultilabelReferences(there.astype(bool), classes)},
    )


def _check_ids(
    splits: Mapping[str, Split],
    jobs: Mapping[str, Sequence[_Job]],
    bad: Mapping[str, Mapping[int, str]],
) -> None:
    first: dict[str, _Job] = {}
    for name, split in splits.items():
        for place, own in enumerate(split.ids):
            if place in bad[name]:
                continue
            job = jobs[name][place]
            if first.setdefault(own, job) is not job:
                raise DataError(
                    f"{job.label}: the id {own!r} is that of {first[own].label} already"
                )
