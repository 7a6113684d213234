"""AV-MNIST: a written digit and a spoken one of the same class, made weaker by parameters.

From MNIST (LeCun, Bottou, Bengio and Haffner 1998, doi:10.1109/5.726791) in its four ``idx`` files,
gzipped or not, and the Free Spoken Digit Dataset (Jackson 2016,
https://github.com/Jakobovski/free-spoken-digit-dataset) as ``recordings/DIGIT_SPEAKER_INDEX.wav``.
The idea is that of Vielzeuf et al. 2018 (arXiv:1808.07275); their audio and the files of MultiBench
(arXiv:2107.07502) are others, so figures are not comparable.

**The pairing.** Each image gets a recording of its digit, drawn by the data seed and the image's
number in its file: it depends on no other image. An item's id tells it, ``train07+3_theo_12`` is
image 7 of MNIST's training file with that recording, so every record publishes it. Training and
validation images are different ones of the training file, in an order drawn by the seed; test
images are the first of the test file. Recordings with an index under 5 are the official test;
of the others those under 10 validate. With ``held_out`` one speaker's recordings are the test, all
of them, and nothing else is heard of that speaker.

**Weaker images**: ``image_components`` keeps so many principal components of the training images,
then ``image_noise`` adds white noise, in units of the whole range from black to white. **Weaker
sound**: ``snr_db`` adds white noise to every recording. Undamaged the task is solved by each
modality alone.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
from msgspec import Meta

from mmbench import rng
from mmbench.data import _building, _cache, _contents, _left_out, _sound
from mmbench.data._cache import Made, cached
from mmbench.data._cache import source_digest as digest_of
from mmbench.data._contract import Request, checked
from mmbench.data._sound import MelParams
from mmbench.errors import DataError, SpecError, nearest
from mmbench.references import LabelReferences
from mmbench.spec import Weight
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

VERSION = 1
DIGITS = tuple(str(digit) for digit in range(10))
#: Recordings with an index under these are the official test, and validate.
TEST_BELOW, VALIDATION_BELOW = 5, 10
#: What MNIST's files begin with: two zeros, unsigned bytes, the number of axes.
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parameters of the dataset ``mnist_fsdd``.

    Attributes:
        images: The folder of MNIST's files, below what ``--data`` names.
        sounds: The folder that holds ``recordings/``, below it too.
        held_out: The speaker who is heard in the test only; empty: the official test.
        image_components: Principal components that are kept of an image; none: all.
        image_noise: Standard deviation of the noise on images.
        snr_db: Signal-to-noise ratio of recordings in decibels; none: as recorded.
        seconds: Recordings are cut there.
        mel: What spectrograms are made by.
        skip_bad: Whether pairs whose recording cannot be read are left out, counted and recorded.
    """

    images: str = "mnist"
    sounds: str = "fsdd"
    held_out: str = ""
    image_components: Annotated[int, Meta(ge=1, le=784)] | None = None
    image_noise: Weight = 0.0
    snr_db: Annotated[float, Meta(ge=-60.0, le=60.0)] | None = None
    seconds: Annotated[float, Meta(gt=0.0)] = 1.0
    mel: MelParams = MelParams(bands=32)
    skip_bad: bool = False


@dataclass(frozen=True)
class Recording:
    """One file of FSDD."""

    path: Path
    digit: int
    speaker: str
    index: int


@dataclass(frozen=True)
class _Job:
    recording: Recording
    params: Params
    seed: int


def build(request: Request) -> Dataset:
    """Read both sets and pair them.

    Modalities: ``image`` [1, 28, 28] and ``audio``, a spectrogram [1, T, F]. Output: ``digit``.
    Group: ``speaker``. Clusters: recordings, since many images share one.

    Raises:
        SpecError: Another version is asked for, or a parameter is wrong.
        DataError: Files are missing, broken, or too few for the splits.
    """
    params = _params(request)
    root = _root(request, params)
    recordings = _recordings(root / params.sounds / "recordings")
    heard = _heard(recordings, params)
    sounds = _sounds(recordings, request, params)
    pictures = _pictures(root / params.images, request, params)
    splits = {
        name: _split(name, pictures, heard[name], recordings, sounds, request)
        for name in ("train", "val", "test")
    }
    image, audio = pictures.arrays["train"], sounds.arrays["audio"]
    joined = hashlib.sha256(f"{pictures.fingerprint}{sounds.fingerprint}".encode())
    for split in splits.values():
        joined.update("\n".join(split.ids).encode())
    dataset = Dataset(
        signature=Signature(
            {
                "image": Modality("image", (1, *image.shape[1:])),
                "audio": Modality("spectrogram", (1, *audio.shape[1:])),
            },
            {"digit": Output("label", len(DIGITS), DIGITS)},
        ),
        splits=splits,
        fingerprint=joined.hexdigest(),
    )
    # Of a recording that cannot be read, all pairs go.
    wrong = {recordings[place].path.stem: why for place, why in _left_out.of(sounds).items()}
    bad = {name: {row: wrong[clip] for row, clip in enumerate(_clips(split)) if clip in wrong}
           for name, split in splits.items()}  # fmt: skip
    return _left_out.without(dataset, bad)


def _clips(split: Split) -> list[str]:
    return [] if split.clusters is None else split.clusters.tolist()


def source_digest(request: Request) -> str:
    """Return the SHA-256 over MNIST's labels and FSDD's names: what is paired with what.

    Raises:
        DataError: Files are missing.
    """
    params = _params(request)
    root = _root(request, params)
    names = [r.path.name for r in _recordings(root / params.sounds / "recordings")]
    labels = [_idx_file(root / params.images, f"{part}-{LABELS}") for part in ("train", "t10k")]
    return hashlib.sha256(f"{digest_of(*labels)} {' '.join(names)}".encode()).hexdigest()


def _params(request: Request) -> Params:
    return checked(request, "mnist_fsdd", VERSION, Params)


def _root(request: Request, params: Params) -> Path:
    wanted = (
        f"a folder that holds {params.images}/ (MNIST's idx files) and {params.sounds}/recordings/"
    )
    if request.root is None:
        raise DataError(
            f"task {request.task!r} needs data of yours: --data DIR or MMBENCH_DATA=DIR, DIR being "
            f"{wanted}"
        )
    for folder in (request.root / params.images, request.root / params.sounds / "recordings"):
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder: task {request.task!r} expects --data (or "
                f"MMBENCH_DATA) to name {wanted}"
            )
    return request.root


def _recordings(folder: Path) -> list[Recording]:
    """Return FSDD's recordings, sorted by name."""
    found = []
    for path in sorted(folder.glob("*.wav")):
        parts = re.fullmatch(r"(\d)_([a-z]+)_(\d+)", path.stem)
        if parts is None:
            raise DataError(f"{path}: expected a name like DIGIT_SPEAKER_INDEX.wav, 3_theo_12.wav")
        found.append(Recording(path, int(parts[1]), parts[2], int(parts[3])))
    if not found:
        raise DataError(f"{folder}: holds no .wav file")
    return found


def _heard(recordings: Sequence[Recording], params: Params) -> dict[str, dict[int, list[int]]]:
    """Return the recordings of each split: split -> digit -> their numbers."""
    speakers = sorted({recording.speaker for recording in recordings})
    if params.held_out and params.held_out not in speakers:
        near = nearest(params.held_out, speakers)
        raise SpecError(
            f"dataset.params.held_out = {params.held_out!r}: "
            f"{f'did you mean {near!r}? ' if near else ''}the speakers are {', '.join(speakers)}"
        )
    found: dict[str, dict[int, list[int]]] = {
        name: {digit: [] for digit in range(10)} for name in ("train", "val", "test")
    }
    for number, recording in enumerate(recordings):
        found[_part(recording, params.held_out)][recording.digit].append(number)
    for name, held in found.items():
        for digit, numbers in held.items():
            if not numbers:
                raise DataError(
                    f"{recordings[0].path.parent}: no recording of the digit {digit} is of the "
                    f"split {name!r}"
                )
    return found


def _part(recording: Recording, held_out: str) -> str:
    if held_out:
        if recording.speaker == held_out:
            return "test"
        return "val" if recording.index < TEST_BELOW else "train"
    if recording.index < TEST_BELOW:
        return "test"
    return "val" if recording.index < VALIDATION_BELOW else "train"


def _sounds(recordings: Sequence[Recording], request: Request, params: Params) -> _cache.Entry:
    """Decode all recordings; one entry serves every task that hears them so."""
    paths = [recording.path for recording in recordings]
    listed = hashlib.sha256()
    for path, digest in zip(
        paths, _contents.digests(request.cache, paths, ["a recording"] * len(paths)), strict=True
    ):
        listed.update(f"{path.name}\0{digest}\n".encode())
    key = {
        "name": "mnist_fsdd_sounds",
        "version": VERSION,
        "mel": params.mel,
        "seconds": params.seconds,
        "noise": None if params.snr_db is None else [params.snr_db, request.seed],
        "skip_bad": params.skip_bad,
        "files": listed.hexdigest(),
        "libraries": _sound.versions(),
        "source": digest_of(__file__, _sound.__file__, _building.__file__, rng.__file__),
    }
    jobs = [_Job(recording, params, request.seed) for recording in recordings]
    return _building.prepared(request.cache, key, jobs, _item, part=256, skip=params.skip_bad)


def _item(job: _Job) -> dict[str, Array]:
    path, params = job.recording.path, job.params
    wave = _sound.read(path, "a recording", params.mel.rate)
    wave = wave[: max(1, round(params.seconds * params.mel.rate))]
    if params.snr_db is not None:
        noise = _sound.white(job.seed, "white noise", path.stem, count=len(wave))
        wave = _sound.mix(wave, noise, params.snr_db)
    return {"audio": _sound.log_mel(wave, params.mel)}


def _pictures(folder: Path, request: Request, params: Params) -> _cache.Entry:
    """Read MNIST and weaken it: arrays by split, with their labels and numbers in the file."""
    names = [f"{part}-{what}" for part in ("train", "t10k") for what in (IMAGES, LABELS)]
    files = [_idx_file(folder, name) for name in names]
    sizes = {name: request.splits.get(name, 0) for name in ("train", "val", "test")}
    key = {
        "name": "mnist_fsdd_images",
        "version": VERSION,
        "components": params.image_components,
        "noise": params.image_noise,
        "sizes": sizes,
        "seed": request.seed,
        "files": digest_of(*files),
        "source": digest_of(__file__, rng.__file__),
    }

    def make() -> Made:
        images, labels, test_images, test_labels = (read_idx(file) for file in files)
        order = rng.permutation(request.seed, "mnist_fsdd", "images", count=len(images))
        wanted = {
            "train": (images, labels, order[: sizes["train"]]),
            "val": (images, labels, order[sizes["train"] : sizes["train"] + sizes["val"]]),
            "test": (test_images, test_labels, np.arange(len(test_images))[: sizes["test"]]),
        }
        arrays: dict[str, Array] = {}
        kept: Array | None = None
        for name, (pixels, digits, index) in wanted.items():
            if len(index) < sizes[name]:
                raise DataError(
                    f"{folder}: has {len(index)} images left for the split {name!r}, task "
                    f"{request.task!r} expects {sizes[name]}"
                )
            chosen = pixels[index]
            if name == "train" and params.image_components is not None:
                kept = components(chosen, params.image_components)
                centre = chosen.reshape(len(chosen), -1).mean(axis=0)
            weak = chosen.astype(np.float64)
            if kept is not None:
                flat = weak.reshape(len(weak), -1) - centre
                weak = (flat @ kept.T @ kept + centre).reshape(weak.shape)
            if params.image_noise:
                noise = _sound.white(request.seed, "image noise", name, count=weak.size)
                weak = weak + 255.0 * params.image_noise * noise.reshape(weak.shape)
            arrays[name] = np.clip(np.rint(weak), 0, 255).astype(np.uint8)
            arrays[f"{name}_labels"] = digits[index].astype(np.int64)
            arrays[f"{name}_numbers"] = index.astype(np.int64)
        return arrays, {}

    return cached(request.cache, key, make)


def components(images: Array, count: int) -> Array:
    """Return the first `count` principal directions of images [N, H, W]: [count, H W]."""
    flat = images.reshape(len(images), -1).astype(np.float64)
    flat -= flat.mean(axis=0)
    _, vectors = np.linalg.eigh(flat.T @ flat)  # in the order of growing variance
    return np.ascontiguousarray(vectors[:, ::-1][:, :count].T)


def _idx_file(folder: Path, name: str) -> Path:
    for file in (folder / f"{name}.gz", folder / name):
        if file.is_file():
            return file
    raise DataError(f"{folder}: holds neither {name}.gz nor {name}")


def read_idx(file: Path) -> Array:
    """Read an ``idx`` file of unsigned bytes, gzipped or not.

    Raises:
        DataError: It is no such file, or cut off.
    """
    again = "copy it again from its source"
    try:
        content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read: {error}: {again}") from None
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 3:
        raise DataError(f"{file}: is no idx file of unsigned bytes: {again}")
    start = 4 + 4 * content[3]
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    if len(shape) < content[3] or len(content) - start != int(np.prod(shape)):
        raise DataError(
            f"{file}: promises {int(np.prod(shape)):,} bytes of data and holds "
            f"{max(0, len(content) - start):,}: {again}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _split(
    name: str,
    pictures: _cache.Entry,
    heard: Mapping[int, Sequence[int]],
    recordings: Sequence[Recording],
    sounds: _cache.Entry,
    request: Request,
) -> Split:
    """Pair the images of a split with its recordings."""
    labels = np.asarray(pictures.arrays[f"{name}_labels"])
    numbers = np.asarray(pictures.arrays[f"{name}_numbers"])
    file = "test" if name == "test" else "train"
    draws = rng.uniform(request.seed, "mnist_fsdd", "pairs", file, count=int(numbers.max()) + 1)
    chosen = np.array(
        [
            heard[int(digit)][int(draws[number] * len(heard[int(digit)]))]
            for digit, number in zip(labels, numbers, strict=True)
        ],
        dtype=np.int64,
    )
    clips = [recordings[row].path.stem for row in chosen]
    sound, lengths = sounds.arrays["audio"], sounds.arrays["audio_lengths"]
    return Split(
        ids=[f"{file}{n:05d}+{clip}" for n, clip in zip(numbers.tolist(), clips, strict=True)],
        inputs={
            "image": pictures.arrays[name][:, None],
            "audio": Ragged(sound[chosen][:, None], np.asarray(lengths)[chosen]),
        },
        targets={"digit": labels},
        references={"digit": LabelReferences(labels, DIGITS)},
        groups={"speaker": np.array([recordings[row].speaker for row in chosen])},
        clusters=np.array(clips),
    )
