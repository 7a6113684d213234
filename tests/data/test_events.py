"""The clips of `events`: what is planted where, that nothing leaks, and that bytes are pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import events
from mmbench.data._contract import Request
from mmbench.data.events import noise, render, sound, world
from mmbench.errors import SpecError
from mmbench.spec import OutputSpec
from mmbench.types import Dataset

SPLITS = {"train": 300, "val": 60, "test": 60, "noisy": 40, "missing": 60}
CHANGES = {
    "noisy": {"like": "test", "more_noise": {"video": 30, "audio": 30}},
    "missing": {"like": "test", "missing": {"video": 0.5, "audio": 0.5}},
}
ALL = ("clip", "synchrony", "emotion", "events", "caption")


def outputs(*names: str) -> dict[str, OutputSpec]:
    kinds = {name: events.OUTPUTS[name].kind for name in names}
    return {n: OutputSpec(kind=kind, main=n == names[0]) for n, kind in kinds.items()}


def request(cache: Path, splits: dict[str, int] | None = None, **changes: Any) -> Request:
    fields: dict[str, Any] = {
        "task": "events",
        "version": events.VERSION,
        "seed": 7,
        "params": {"splits": CHANGES} if splits is None else {},
        "splits": SPLITS if splits is None else splits,
        "root": None,
        "cache": cache,
        "outputs": outputs(*ALL),
    }
    return Request(**{**fields, **changes})


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return events.build(request(tmp_path_factory.mktemp("cache")))


@pytest.fixture(scope="module", params=[1, 2])
def clips(request: pytest.FixtureRequest) -> world.Clips:
    return world.draw(3, "train", 40_000, request.param)


def independent(left: np.ndarray, right: np.ndarray) -> bool:
    """Hold the chi-square statistic of two columns against 5 standard deviations."""
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    freedom = max((table.shape[0] - 1) * (table.shape[1] - 1), 1)
    return bool(((table - expected) ** 2 / expected).sum() < freedom + 5 * (2 * freedom) ** 0.5)


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("name", ["events", "event_detection", "video_captioning"])
def test_the_tasks_ask_for_what_the_dataset_has(name: str, dataset: Dataset) -> None:
    assert registry.load("dataset", "events") is events.build
    task = catalog.task(name)
    for modality, told in task.modalities.items():
        found = dataset.signature.modalities[modality]
        assert (found.kind, found.shape) == (told.kind, tuple(told.shape))
    for output, told in task.outputs.items():
        assert told.kind == events.OUTPUTS[output].kind
        if told.classes:
            assert told.classes == events.OUTPUTS[output].vocabulary


def test_every_split_has_the_sizes_and_shapes_that_were_asked_for(dataset: Dataset) -> None:
    assert dataset.signature.main == "clip"
    for name, split in dataset.splits.items():
        size = SPLITS[name]
        assert len(split) == len(set(split.ids)) == size
        assert split.inputs["video"].shape == (size, 16, 24, 24)  # type: ignore[union-attr]
        assert split.inputs["audio"].shape == (size, 1, 32, 16)  # type: ignore[union-attr]
        assert split.targets["events"].shape == (size, 16)
        assert split.targets["caption"].shape[:2] == (size, 3)
        assert set(split.targets) == set(split.references) == set(ALL)
        for references in split.references.values():
            assert len(references) == size


def test_a_task_gets_the_outputs_that_it_asks_for_the_main_one_first(tmp_path: Path) -> None:
    few = {"train": 8, "val": 4, "test": 4}
    asked = outputs("emotion", "clip")
    asked = {"clip": asked["clip"], "emotion": asked["emotion"]}
    made = events.build(request(tmp_path, few, outputs=asked))
    assert list(made.signature.outputs) == list(made.splits["test"].targets) == ["emotion", "clip"]
    assert made.signature.main == "emotion"


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"version": 9}, r"dataset.version = 9: .* write version = 1"),
        ({"params": {"speed": 3}}, "unknown key 'speed'"),
        ({"params": {"asynchrony": 3}}, "asynchrony"),
        ({"params": {"noise": {"video": -1}}}, "noise.video"),
        ({"params": {"references": 0}}, "references"),
        ({"params": {"splits": {"tset": {}}}}, "did you mean 'test'"),
        ({"params": {"splits": {"val": {"like": "val"}}}}, "name a split with its own clips"),
        ({"params": {"splits": {"val": {"missing": {"video": 2.0}}}}}, "missing.video"),
        ({"outputs": {"clips": OutputSpec(kind="label")}}, "did you mean 'clip'"),
        (
            {"outputs": {"emotion": OutputSpec(kind="label", classes=("happy", "sad"))}},
            r"outputs.emotion.classes: the data's are sad, angry, calm, happy",
        ),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else "told",
)
def test_what_cannot_be_made_is_refused_by_name(
    tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        events.build(request(tmp_path, {"train": 8, "val": 4, "test": 4}, **changed))


# --- the same bytes everywhere -------------------------------------------------------------------


GOLDEN = {
    "video": "47a392fdb1cf423a5a66ada937f59956955d68bf72462442ea286f2260f48c44",
    "audio": "744bc97b1a595c1685df20e69627ce51d71be6f6aca6aff51e699b7cdf741e2d",
    "clip": "1a7a482f00b984b59212dceba28893d2be02dbf974d287c8320e4462c7e387a8",
    "synchrony": "975f96b27dcb13b7d87dd03732c5c0323c0b9b363c65a1d2a5acdbc88b80d7ae",
    "emotion": "67401c70389a9bf4ff3a04b3a41585fbb7e1f527e754ef6dd003b782060d771c",
    "events": "a8fbb99097fad5df349c0ab5b3b645d57a7ed71c5b10ae6f21da56cd5548682e",
    "caption": "57b107c3e2f02db780e857d28198723054fecc96fddc3b5cd32b8672c123f30f",
}


def test_a_small_build_has_these_bytes_on_every_platform(tmp_path: Path) -> None:
    made = events.build(request(tmp_path, {"train": 24, "val": 8, "test": 8}))
    digests = {}
    for field in ("video", "audio", *ALL):
        total = hashlib.sha256()
        for split in made.splits.values():
            held = split.targets if field in ALL else split.inputs
            total.update(np.asarray(held[field]).astype("<i2").tobytes())
        digests[field] = total.hexdigest()
    assert digests == GOLDEN


def test_the_first_clips_are_the_same_whatever_the_size(dataset: Dataset, tmp_path: Path) -> None:
    params = {"splits": CHANGES}
    few = events.build(request(tmp_path, dict.fromkeys(SPLITS, 30) | {"train": 270}, params=params))
    for name, split in few.splits.items():
        large = dataset.splits[name].take(np.arange(len(split)))
        for modality in ("video", "audio"):
            assert np.array_equal(split.inputs[modality], large.inputs[modality])  # type: ignore[arg-type]
        for output in ALL:
            assert np.array_equal(split.targets[output], large.targets[output])


def test_no_split_repeats_a_clip_of_another(dataset: Dataset, tmp_path: Path) -> None:
    other = events.build(request(tmp_path, {"train": 50, "val": 5, "test": 5}, seed=8))
    splits = [s for n, s in dataset.splits.items() if n != "missing"] + [*other.splits.values()]
    for modality in ("video", "audio"):
        rows = [row for split in splits for row in np.asarray(split.inputs[modality])]
        assert len({hashlib.sha256(row.tobytes()).digest() for row in rows}) == len(rows)


def test_splits_like_another_differ_in_what_they_say_they_do(dataset: Dataset) -> None:
    test, noisy, missing = (dataset.splits[name] for name in ("test", "noisy", "missing"))
    for split in (noisy, missing):
        for output in ALL:
            assert np.array_equal(split.targets[output], test.targets[output][: len(split)])
    for modality in ("video", "audio"):
        own = np.asarray(test.inputs[modality]).astype(int)
        change = np.asarray(noisy.inputs[modality]).astype(int) - own[: len(noisy)]
        assert abs(change.std() - 30) < 3
        there = np.asarray(missing.present[modality])
        assert 15 < there.sum() < 45
        assert np.array_equal(np.asarray(missing.inputs[modality])[there], own[there])
        assert not np.asarray(missing.inputs[modality])[~there].any()


def test_noise_is_normal_in_whole_levels() -> None:
    drawn = noise.normal(12, 0, "some", shape=(400, 400)).astype(float)
    assert abs(drawn.mean()) < 0.15
    assert drawn.std() == pytest.approx(12, rel=0.01)
    assert (drawn**4).mean() / drawn.std() ** 4 == pytest.approx(3, abs=0.06)
    assert not noise.normal(0, 0, "some", shape=(3, 4)).any()


# --- what is planted -----------------------------------------------------------------------------


def test_everything_that_is_drawn_is_even_and_independent(clips: world.Clips) -> None:
    columns = {
        "motion": clips.motion, "sound": clips.sound, "place": clips.place, "seen": clips.seen,
        "synchrony": clips.synchronous, "arousal": clips.arousal, "valence": clips.valence,
        "number": world.arrangements().number[clips.arrangement],
    }  # fmt: skip
    for name, column in columns.items():
        shares = np.bincount(column - column.min()) / len(clips)
        assert np.abs(shares - 1 / len(shares)).max() < 0.015, name
        for other, values in columns.items():
            assert other == name or independent(column, values), (name, other)


def test_neither_stream_says_whether_they_are_synchronous(clips: world.Clips) -> None:
    # All that the audio shows, and all that the video shows: each jointly.
    heard = (clips.arrangement * 4 + clips.heard) * 4 + clips.sound
    seen = (clips.arrangement * 4 + clips.seen) * 6 + clips.motion
    assert independent(clips.synchronous, heard)
    assert independent(clips.synchronous, seen)
    assert not independent(clips.synchronous, (clips.heard - clips.seen) % 4)


def test_arrangements_fit_and_have_the_chances_that_they_are_drawn_with(
    clips: world.Clips,
) -> None:
    table = world.arrangements()
    assert table.chance.sum() == pytest.approx(1.0)
    ends = np.stack([table.bounces + 4 * table.number, table.moves + 4])
    assert ends.max() <= world.FRAMES
    apart = (ends[0] <= table.moves) | (ends[1] <= table.bounces)
    assert apart.all()
    assert not (table.bounces % 2).any()
    assert not (table.moves % 2).any()
    assert len({*zip(table.number, table.bounces, table.moves, strict=True)}) == len(table.number)
    shares = np.bincount(clips.arrangement, minlength=len(table.chance)) / len(clips)
    assert (np.abs(shares - table.chance) < 5 * (table.chance / len(clips)) ** 0.5).all()


def test_asynchronous_sounds_are_as_far_from_the_bounces_as_is_asked_for() -> None:
    for least in (1, 2):
        drawn = world.draw(3, "train", 5000, least)
        late = (drawn.heard - drawn.seen) % 4
        apart = np.minimum(late, 4 - late)
        assert set(apart[drawn.synchronous == 0]) == set(range(least, 3))
        assert not apart[drawn.synchronous == 1].any()


def test_frames_say_what_happens(clips: world.Clips) -> None:
    frames, number = world.events(clips), world.arrangements().number[clips.arrangement]
    on = clips.synchronous == 1
    bounces, sounds, both = (np.sum(frames == k, axis=1) for k in (1, 2, 3))
    assert np.array_equal(both[on], number[on])
    assert not (bounces + sounds)[on].any()
    assert np.array_equal(bounces[~on], number[~on])
    assert np.array_equal(sounds[~on], number[~on])
    assert not both[~on].any()
    assert np.array_equal(np.sum(frames == clips.motion[:, None] + world.MOVING, axis=1) == 4,
                          np.ones(len(clips), bool))  # fmt: skip
    for row, keys in zip(frames[:50], world.onsets(frames[:50]), strict=True):
        begins = [k for k in range(16) if row[k] and (k == 0 or row[k] != row[k - 1])]
        assert keys.tolist() == begins


def test_what_is_seen_and_heard_looks_and_sounds_different() -> None:
    frames = render.states().astype(float)
    assert 70 < frames.min() < frames.max() < 185
    for motion in range(len(world.MOTIONS)):
        for other in range(motion):
            steps = frames[0, motion, 0, 6:] - frames[0, other, 0, 6:]
            assert (steps**2).sum() > 15 * 32**2
    heard = sound.states().astype(float)[:, 0, 1] - sound.states().astype(float)[:, 0, 0]
    flat = heard.reshape(len(world.SOUNDS), -1)
    flat /= np.sqrt((flat**2).sum(1, keepdims=True))
    assert (flat @ flat.T - np.eye(len(flat))).max() < 0.6
