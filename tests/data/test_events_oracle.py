"""The oracle of `events` is exact: against brute force, against itself, and against its bounds."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from mmbench import catalog
from mmbench.data import _load, events
from mmbench.data._contract import Request
from mmbench.data.events import render, sound, world
from mmbench.data.events.posterior import posterior
from mmbench.data.events.world import Clips
from mmbench.errors import UsageError
from mmbench.scoring import score
from mmbench.spec import OutputSpec
from mmbench.types import Dataset, Split

BOTH = frozenset({"video", "audio"})
NONE: frozenset[str] = frozenset()
SETS = [NONE, frozenset({"video"}), frozenset({"audio"}), BOTH]
NAMES = ("clip", "synchrony", "emotion", "events", "caption")
LOUD = {"video": 40, "audio": 40}


def made(cache: Any, items: int, **params: Any) -> Split:
    outputs = {n: OutputSpec(kind=events.OUTPUTS[n].kind, main=n == "clip") for n in NAMES}
    splits = {"train": items, "val": 4, "test": 4}
    request = Request("events", 1, 5, params, splits, None, cache, outputs=outputs)
    return events.build(request).splits["train"]


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Split:
    return made(tmp_path_factory.mktemp("clean"), 400, noise={"video": 0, "audio": 0})


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    outputs = {n: OutputSpec(kind=events.OUTPUTS[n].kind, main=n == "clip") for n in NAMES}
    splits = {"train": 200, "val": 4, "test": 1000}
    cache = tmp_path_factory.mktemp("usual")
    return events.build(Request("events", 1, 5, {}, splits, None, cache, outputs=outputs))


def hypotheses(asynchrony: int) -> tuple[Clips, np.ndarray]:
    """Return everything that a clip can be, and how often it is."""
    table = world.arrangements()
    rows, chances = [], []
    late = world.shifts(asynchrony)
    for k, seen, on in product(range(len(table.number)), range(4), (0, 1)):
        for shift in [0] if on else late:
            part = table.chance[k] / 4 / 2 / (1 if on else len(late))
            for rest in product(range(6), range(4), range(4), range(2), range(2)):
                rows.append((k, *rest[:3], seen, (seen + shift) % 4, *rest[3:]))
                chances.append(part / (6 * 4 * 4 * 2 * 2))
    return Clips(*np.array(rows).T), np.array(chances)


@pytest.mark.slow
@pytest.mark.parametrize("asynchrony", [1, 2])
def test_posteriors_are_those_of_all_hypotheses_rendered_and_compared(
    tmp_path: Any, asynchrony: int
) -> None:
    """Draw every clip there can be, and weigh it by how far its pixels are from those given."""
    split = made(tmp_path, 4, noise=LOUD, asynchrony=asynchrony)
    every, chances = hypotheses(asynchrony)
    assert chances.sum() == pytest.approx(1.0)
    seen = (every.arrangement, every.motion, every.place, every.seen, every.arousal)
    heard = (every.arrangement, every.sound, every.heard, every.valence)
    logs = {}
    for name, module, columns in (("video", render, seen), ("audio", sound, heard)):
        _, first, which = np.unique(np.stack(columns), axis=1, return_index=True,
                                    return_inverse=True)  # fmt: skip
        distinct = Clips(*(getattr(every, f)[first] for f in Clips.__dataclass_fields__))
        apart = np.zeros((len(split), len(first)))
        for start in range(0, len(first), 500):
            pictures = module.clean(distinct.take(slice(start, start + 500))).astype(float)
            for row, pixels in enumerate(np.asarray(split.inputs[name]).astype(float)):
                far = ((pixels - pictures) ** 2).reshape(len(pictures), -1).sum(axis=1)
                apart[row, start : start + 500] = -far / (2 * 40.0**2)
        logs[name] = apart[:, which.ravel()]
    frames = world.events(every)
    for looked_at in SETS:
        found = posterior(split, looked_at)
        for row in range(len(split)):
            log = sum((logs[name][row] for name in looked_at), np.zeros(len(chances)))
            weight = chances * np.exp(log - log.max())
            weight /= weight.sum()
            for name, size in (("clip", 48), ("emotion", 4)):
                wanted = np.bincount(getattr(every, name), weights=weight, minlength=size)
                np.testing.assert_allclose(getattr(found, name)[row], wanted, atol=1e-8)
            for frame in range(world.FRAMES):
                wanted = np.bincount(frames[:, frame], weights=weight, minlength=10)
                np.testing.assert_allclose(found.events[row, frame], wanted, atol=1e-8)
            wanted = np.bincount(every.arrangement, weights=weight, minlength=44)
            np.testing.assert_allclose(found.arrangement[row], wanted, atol=1e-8)


def test_everything_is_recovered_from_clean_pixels(clean: Split) -> None:
    found = posterior(clean, BOTH)
    for name in ("clip", "synchrony", "emotion"):
        right = getattr(found, name).argmax(axis=1) == clean.targets[name]
        assert right.mean() >= 0.99, name
    assert (found.events.argmax(axis=2) == clean.targets["events"]).mean() >= 0.99


def test_what_is_promised_is_what_comes_true(tmp_path: Any) -> None:
    """With loud noise: the mean probability of what is said is how often it is right."""
    split = made(tmp_path, 1500, noise=LOUD)
    for looked_at in SETS:
        found = posterior(split, looked_at)
        for name in ("clip", "emotion"):
            chances = getattr(found, name)
            np.testing.assert_allclose(chances.sum(axis=1), 1.0)
            gap = (chances.argmax(axis=1) == split.targets[name]) - chances.max(axis=1)
            assert abs(gap.mean()) < 4 * max(gap.std(), 0.01) / len(split) ** 0.5, name
        frames = found.events
        np.testing.assert_allclose(frames.sum(axis=2), 1.0)
        gap = (frames.argmax(axis=2) == split.targets["events"]) - frames.max(axis=2)
        gap = gap.mean(axis=1)
        assert abs(gap.mean()) < 4 * max(gap.std(), 0.01) / len(split) ** 0.5


def test_one_stream_says_exactly_nothing_about_synchrony(usual: Dataset) -> None:
    for looked_at in SETS[:3]:
        found = posterior(usual.splits["test"], looked_at)
        np.testing.assert_allclose(found.synchrony, 0.5, atol=1e-9)
    for name, of in (("video", "sound"), ("audio", "motion")):
        chances = getattr(posterior(usual.splits["test"], frozenset({name})), of)
        np.testing.assert_allclose(chances, 1 / chances.shape[1], atol=1e-9)


def test_frames_decided_by_each_stream_and_multiplied_tell_the_impacts(usual: Dataset) -> None:
    """Late fusion fails on the clip and not on its frames: there, a bounce and a sound add up."""
    split = usual.splits["test"]
    seen, heard = (posterior(split, frozenset({m})).events for m in ("video", "audio"))
    prior = posterior(split, NONE).events
    decided = (seen * heard / np.maximum(prior, 1e-12)).argmax(axis=2)
    right = split.targets["events"]
    assert (decided == right)[right == world.IMPACT].mean() > 0.95
    assert (seen.argmax(axis=2) == right)[(right == 1) | (right == 3)].mean() < 0.65


def test_permuted_labels_are_no_better_than_chance(usual: Dataset) -> None:
    split = usual.splits["test"]
    found = posterior(split, BOTH)
    for name, classes in (("clip", 48), ("synchrony", 2), ("emotion", 4)):
        permuted = np.roll(split.targets[name], 1)
        hits = (getattr(found, name).argmax(axis=1) == permuted).mean()
        assert abs(hits - 1 / classes) < 4 * (1 / classes / len(split)) ** 0.5
    frames = np.roll(split.targets["events"], 1, axis=0)
    loud = frames > 0
    assert (found.events.argmax(axis=2) == frames)[loud].mean() < 0.25


def test_permuted_captions_fit_no_better_than_by_chance(usual: Dataset) -> None:
    split = usual.splits["test"]
    assert usual.oracle is not None
    texts = split.references["caption"]
    count = len(split)
    rolled = texts.take([*range(1, count), 0])  # type: ignore[attr-defined]
    said = usual.oracle(split, BOTH)
    metrics = ["motion_f1", "sound_f1", "relation_f1"]
    right, wrong = (
        score(said, {"caption": own}, "caption", metrics, ids=split.ids).scores
        for own in (texts, rolled)
    )
    for metric, classes in zip(metrics, (6, 4, 2), strict=True):
        assert right[metric].value > 0.9
        assert wrong[metric].value < 1 / classes + 4 * (1 / classes / count) ** 0.5, metric


def test_no_frame_is_right_more_often_than_is_proven(usual: Dataset) -> None:
    split = usual.splits["test"]
    assert usual.oracle is not None
    table = events.bounds(split)["events.frame_accuracy"]
    for heard in ({"video"}, {"audio"}, {"video", "audio"}):
        said = usual.oracle(split, frozenset(heard))
        own = {"events": split.references["events"]}
        got = score(said, own, "events", ["frame_accuracy"], ids=split.ids).scores["frame_accuracy"]
        assert got.value == pytest.approx(table["+".join(sorted(heard))], abs=4 * got.se + 1e-3)


def test_an_absent_modality_says_nothing_whatever_stands_in_it(tmp_path: Any) -> None:
    split = made(tmp_path, 60, splits={"train": {"missing": {"audio": 0.5}}})
    there = np.asarray(split.present["audio"])
    assert 15 < there.sum() < 45
    filled = np.where(there[:, None, None, None], split.inputs["audio"], 255)  # type: ignore[arg-type]
    other = replace(split, inputs={**split.inputs, "audio": filled})
    found = posterior(other, BOTH)
    np.testing.assert_array_equal(found.clip, posterior(split, BOTH).clip)
    alone = posterior(split, frozenset({"video"}))
    np.testing.assert_allclose(found.clip[~there], alone.clip[~there])


def test_the_oracle_keeps_to_its_bounds_and_refuses_strangers(usual: Dataset) -> None:
    split = usual.splits["test"]
    bounds = events.bounds(split)
    metrics = ("accuracy", "bits", "nll", *(f"{o}.accuracy" for o in ("synchrony", "emotion")))
    assert usual.oracle is not None
    for modality in ("video", "audio"):
        said = usual.oracle(split, frozenset({modality}))
        scores = score(said, split.references, "clip", metrics, ids=split.ids).scores
        for name, got in scores.items():
            bound, sign = bounds[name][modality], 1 if name.endswith("accuracy") else -1
            error = np.nan_to_num(got.se)  # none where all clips have the same
            assert sign * (got.value - bound) < 4 * error + 1e-6, (name, modality)
        texts = score(said, split.references, "caption", ["relation_f1"], ids=split.ids).scores
        assert texts["relation_f1"].value < bounds["relation_f1"][modality] + 0.07
    with pytest.raises(UsageError, match="no modality is called 'smell'"):
        posterior(split, frozenset({"smell"}))
    strange = replace(split, references={})
    with pytest.raises(UsageError, match="not of the dataset 'events'"):
        posterior(strange, BOTH)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["events", "event_detection", "video_captioning"])
def test_levels_are_the_scores_of_the_oracle(name: str) -> None:
    task = catalog.task(name)
    dataset = _load.load(task)
    split, main = dataset.splits["test"], dataset.signature.main
    assert dataset.oracle is not None
    assert set(task.levels) == set(task.metric_names)
    for looked_at, of in ((NONE, "floor"), (BOTH, "ceiling"), (SETS[1], "video")):
        said = dataset.oracle(split, looked_at)
        scores = score(said, split.references, main, task.metric_names, ids=split.ids).scores
        for metric, level in task.levels.items():
            stands = level.alone["video"] if of == "video" else getattr(level, of)
            assert stands == pytest.approx(scores[metric].value, abs=1e-4), (metric, of)
    for metric, level in task.levels.items():
        found = events.bounds(split).get(metric, {})
        assert level.bound == {k: round(v, 4) for k, v in sorted(found.items())}
        assert level.late == pytest.approx(events.late_bounds(split).get(metric), abs=1e-4)


@pytest.mark.slow
def test_noise_and_absence_make_the_further_splits_harder() -> None:
    dataset = _load.load(catalog.task("events"))
    hits = {}
    for name in ("test", "noisy_video", "noisy_audio", "missing"):
        split = dataset.splits[name].take(np.arange(300))
        chances = posterior(split, BOTH).clip
        hits[name] = float((chances.argmax(axis=1) == split.targets["clip"]).mean())
    assert hits["missing"] < 0.6 < hits["noisy_audio"] <= hits["test"]
    assert hits["test"] > 0.99
