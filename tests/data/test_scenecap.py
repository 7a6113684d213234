"""The world of SceneCap: what is planted where, that nothing leaks, and that bytes are pinned."""

from __future__ import annotations

import hashlib
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import scenecap
from mmbench.data._contract import Request
from mmbench.data.scenecap import grammar, render, sound, world
from mmbench.errors import SpecError
from mmbench.types import Dataset

SPLITS = {"train": 1200, "val": 300, "test": 300, "ood": 300}


def request(cache: Path, splits: dict[str, int] | None = None, **changes: object) -> Request:
    fields = {
        "task": "captioning",
        "version": scenecap.VERSION,
        "seed": 20260,
        "params": {},
        "splits": SPLITS if splits is None else splits,
        "root": None,
        "cache": cache,
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return scenecap.build(request(tmp_path_factory.mktemp("cache")))


def chi_square(left: np.ndarray, right: np.ndarray) -> tuple[float, int]:
    """Return the chi-square statistic of a contingency table, and its degrees of freedom."""
    table = np.zeros((left.max() + 1, right.max() + 1))
    np.add.at(table, (left, right), 1)
    table = table[table.sum(1) > 0][:, table.sum(0) > 0]
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    freedom = (table.shape[0] - 1) * (table.shape[1] - 1)
    return float(((table - expected) ** 2 / expected).sum()), freedom


def independent(left: np.ndarray, right: np.ndarray) -> bool:
    statistic, freedom = chi_square(left, right)
    return bool(statistic < freedom + 5 * (2 * max(freedom, 1)) ** 0.5)


# --- the dataset as the contract wants it --------------------------------------------------------


def test_the_registry_finds_the_builder_and_a_build_has_the_signature_of_the_task(
    dataset: Dataset,
) -> None:
    assert registry.load("dataset", "scenecap") is scenecap.build
    task = catalog.task("captioning")
    assert task.dataset.version == scenecap.VERSION
    for name, modality in task.modalities.items():
        found = dataset.signature.modalities[name]
        assert (found.kind, found.shape) == (modality.kind, tuple(modality.shape))
    assert dataset.signature.outputs["caption"].kind == task.outputs["caption"].kind
    assert dataset.signature.main == "caption"


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_has_the_size_the_ids_and_the_shapes_that_were_asked_for(
    dataset: Dataset, name: str
) -> None:
    split, size = dataset.splits[name], SPLITS[name]
    assert len(split) == len(set(split.ids)) == size
    assert split.ids[7] == f"{name}-0007"
    output = dataset.signature.outputs["caption"]
    assert split.inputs["image"].shape == (size, 3, 48, 48)  # type: ignore[union-attr]
    assert split.inputs["audio"].shape == (size, 2, 16, 24)  # type: ignore[union-attr]
    assert split.targets["caption"].shape == (size, 5, output.size)
    assert split.targets["caption"].dtype == np.int16
    assert len(split.references["caption"].texts) == len(split.references["caption"].slots or ())


def test_targets_are_the_references_then_the_end_mark_then_padding(dataset: Dataset) -> None:
    split, words = dataset.splits["val"], dataset.signature.outputs["caption"].vocabulary
    assert words[:4] == ("<pad>", "<bos>", "<eos>", "<unk>")
    assert list(words[4:]) == sorted(set(words[4:]))
    for texts, rows in zip(
        split.references["caption"].texts, split.targets["caption"], strict=True
    ):
        for text, row in zip(texts, rows.tolist(), strict=True):
            tokens = text.split()
            assert [words[i] for i in row[: len(tokens)]] == tokens
            assert row[len(tokens) :] == [2] + [0] * (len(row) - len(tokens) - 1)


def test_references_can_be_taken_and_sliced(dataset: Dataset) -> None:
    refs = dataset.splits["val"].references["caption"]
    assert list(refs.texts[2:5]) == [refs.texts[i] for i in (2, 3, 4)]
    part = dataset.splits["val"].take(np.array([5, 3]))
    assert part.references["caption"].texts[1] == refs.texts[3]
    assert part.references["caption"].slots is not None
    assert part.references["caption"].slots[0] == refs.slots[5]  # type: ignore[index]


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"captioning.toml: dataset.version = 9: .* version = 1"):
        scenecap.build(request(tmp_path, version=9))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"noise": 3}, "unknown key 'noise'"),
        ({"occlusion": 1.5}, "occlusion"),
        ({"references": 0}, "references"),
        ({"image_noise": "much"}, "image_noise"),
    ],
)
def test_wrong_parameters_are_refused_by_name(
    tmp_path: Path, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        scenecap.build(request(tmp_path, params=params))


def test_parameters_change_the_data(tmp_path: Path) -> None:
    small = {"train": 40, "val": 4, "test": 4}
    usual = scenecap.build(request(tmp_path, small)).splits["train"]
    params = {"references": 2, "occlusion": 0.0, "image_noise": 0, "audio_noise": 0}
    plain = scenecap.build(request(tmp_path, small, params=params)).splits["train"]
    assert plain.targets["caption"].shape[1] == 2
    assert usual.groups["occluded"].any()
    assert not plain.groups["occluded"].any()
    silent = plain.inputs["audio"][:, :, -1]  # type: ignore[index]
    assert (silent[plain.groups["visible"] < 4] == sound.FLOOR).all()


# --- the same bytes everywhere -------------------------------------------------------------------


def test_a_small_build_has_these_bytes_on_every_platform(tmp_path: Path) -> None:
    made = scenecap.build(request(tmp_path, {"train": 24, "val": 8, "test": 8, "ood": 8}))
    digests = {}
    for field in ("image", "audio", "caption"):
        total = hashlib.sha256()
        for split in made.splits.values():
            held = split.targets if field == "caption" else split.inputs
            total.update(np.asarray(held[field]).astype("<i2").tobytes())
        digests[field] = total.hexdigest()
    assert digests == GOLDEN


GOLDEN = {
    "image": "5736bbe0cb9d44db167bc998fe51df9e698d569bed276b9e83f46cd735965bab",
    "audio": "43806eab8862755251c5e35a497fce22981fcf771c44514486e7649e89c4d634",
    "caption": "ad6a0797a5db6999889a0efc0a425ac9a4d457621e6ace82c3ef58aaef723765",
}


def test_the_first_items_are_the_same_whatever_the_size(dataset: Dataset, tmp_path: Path) -> None:
    few = scenecap.build(request(tmp_path, {"train": 530, "val": 9, "test": 9, "ood": 9}))
    for name, split in few.splits.items():
        large = dataset.splits[name].take(np.arange(len(split)))
        for modality in ("image", "audio"):
            assert np.array_equal(split.inputs[modality], large.inputs[modality])  # type: ignore[arg-type]
        assert np.array_equal(split.targets["caption"], large.targets["caption"])


def test_another_seed_gives_other_items_and_no_split_repeats_another(
    dataset: Dataset, tmp_path: Path
) -> None:
    other = scenecap.build(request(tmp_path, {"train": 50, "val": 5, "test": 5}, seed=1))
    images = [split.inputs["image"] for split in (*dataset.splits.values(), *other.splits.values())]
    digests = [hashlib.sha256(image.tobytes()).digest() for split in images for image in split]  # type: ignore[union-attr]
    assert len(set(digests)) == len(digests)


def test_the_full_build_takes_seconds_and_opening_it_again_a_fraction(tmp_path: Path) -> None:
    task = catalog.task("captioning")
    full = request(tmp_path, dict(task.splits))
    start = time.process_time()
    made = scenecap.build(full)
    middle = time.process_time()
    again = scenecap.build(full)
    texts = [text for split in again.splits.values() for text in split.references["caption"].texts]
    slots = [
        row for split in again.splits.values() for row in split.references["caption"].slots or ()
    ]
    end = time.process_time()
    assert made.fingerprint == again.fingerprint
    assert len(texts) == len(slots) == sum(task.splits.values())
    assert isinstance(again.splits["train"].inputs["image"], np.memmap)
    assert middle - start < 60  # about 1.5 s on an idle core
    assert end - middle < 20  # about 0.3 s


# --- what is planted -----------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["train", "ood"])
def scenes(request: pytest.FixtureRequest) -> world.Scenes:
    return world.draw(3, request.param, 40_000, 0.5)


def test_visible_objects_have_rows_columns_and_shapes_of_their_own(scenes: world.Scenes) -> None:
    for slot in range(world.MOST):
        for other in range(slot):
            both = scenes.visible > slot
            for table in (scenes.row, scenes.column, scenes.shape):
                assert (table[both, slot] != table[both, other]).all()
            assert (scenes.row[both, slot] > scenes.row[both, other]).all()


def test_the_occluder_covers_no_visible_object_and_shares_no_line_if_it_can(
    scenes: world.Scenes,
) -> None:
    row, column = scenes.row[:, world.MOST], scenes.column[:, world.MOST]
    for slot in range(world.MOST):
        there = scenes.visible > slot
        same_row, same_column = scenes.row[:, slot] == row, scenes.column[:, slot] == column
        assert not (there & same_row & same_column).any()
        assert not (there & (same_row | same_column) & (scenes.visible < 4)).any()
    assert not (scenes.hidden & ~scenes.occluded).any()
    assert abs(scenes.hidden[scenes.occluded].mean() - 0.5) < 0.02
    assert set(np.unique(scenes.count)) == {2, 3, 4, 5}


def test_the_direction_of_the_sound_picks_out_one_object(scenes: world.Scenes) -> None:
    there = np.arange(world.MOST)[None, :] < scenes.visible[:, None]
    at_pan = there & (scenes.column[:, : world.MOST] == scenes.pan[:, None])
    assert (at_pan.sum(1) == 1).all()
    assert np.array_equal(at_pan.argmax(1), scenes.emitter)


def test_the_emitter_is_every_visible_object_equally_often(scenes: world.Scenes) -> None:
    for number in (2, 3, 4):
        shares = np.bincount(scenes.emitter[scenes.visible == number]) / sum(
            scenes.visible == number
        )
        assert len(shares) == number
        assert np.abs(shares - 1 / number).max() < 0.02


def test_columns_are_independent_of_rows(scenes: world.Scenes) -> None:
    for slot in range(world.MOST):
        there = scenes.visible > slot
        assert independent(scenes.row[there, slot], scenes.column[there, slot])
        assert independent(scenes.visible[there], scenes.column[there, slot])


def test_the_direction_says_nothing_about_anything_that_a_caption_says(
    scenes: world.Scenes,
) -> None:
    facts = grammar.facts_of(scenes)
    for name, column in zip(grammar.Facts._fields, facts.T, strict=True):
        assert independent(scenes.pan, column), name
    # The words after the emitter, given the emitter: jointly with its role and with the relation.
    lowest = scenes.visible - 1
    role = np.where(scenes.emitter == 0, 0, np.where(scenes.emitter == lowest, 1, 2))
    for other in (role, scenes.distance, facts[:, 7], facts[:, 10], facts[:, 3]):
        joint = (role * 2 + scenes.distance) * 6 + other
        assert independent(scenes.pan, joint)


def test_the_test_of_independence_sees_a_dependence(scenes: world.Scenes) -> None:
    leaking = np.where(np.arange(len(scenes)) % 20 == 0, scenes.pan, scenes.distance)
    assert not independent(scenes.pan, leaking)


def test_the_sound_is_independent_of_all_else(scenes: world.Scenes) -> None:
    facts = grammar.facts_of(scenes)
    for column in (scenes.visible, scenes.pan, scenes.occluded.astype(int), *facts.T[1:]):
        assert independent(scenes.sound, column)


def test_counting_says_nothing_about_the_distance_of_two_or_three(scenes: world.Scenes) -> None:
    for number in (2, 3):
        assert abs(scenes.distance[scenes.visible == number].mean() - 0.5) < 0.02
    assert scenes.distance[scenes.visible == 4].all()


def test_captions_stay_word_for_word_the_same_when_the_sound_comes_from_elsewhere() -> None:
    before = world.draw(3, "train", 400, 0.5)
    mirrored = replace(before, column=world.GRID - 1 - before.column)
    turned = replace(before, column=(before.column + 1) % world.GRID)
    wordings = grammar.draw_wordings(3, "train", 400, 5)
    for after in (mirrored, turned):
        assert (after.pan != before.pan).all()
        for old, new, row in zip(
            grammar.facts_of(before).tolist(),
            grammar.facts_of(after).tolist(),
            wordings.tolist(),
            strict=True,
        ):
            for wording in row:
                said = grammar.caption(grammar.Facts(*old), grammar.Wording(*wording))
                assert said == grammar.caption(grammar.Facts(*new), grammar.Wording(*wording))


def test_no_word_of_the_references_depends_on_the_direction(dataset: Dataset) -> None:
    tokens = dataset.splits["train"].targets["caption"]
    pan = world.draw(20260, "train", SPLITS["train"], 0.5).pan
    for word in range(4, len(grammar.vocabulary())):
        said = (tokens == word).any(axis=(1, 2)).astype(int)
        assert independent(pan, said), grammar.vocabulary()[word]


# --- the split of held-out pairs -----------------------------------------------------------------


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_no_scene_but_those_of_ood_has_a_held_out_pair(name: str) -> None:
    scenes = world.draw(20260, name, 9000, 0.5)
    there = np.arange(world.MOST)[None, :] < scenes.visible[:, None]
    assert not (there & (scenes.shape == scenes.colour)).any()
    pairs = {(s, c) for s, c in zip(scenes.shape[there], scenes.colour[there], strict=True)}
    assert len(pairs) == 30


def test_every_caption_of_ood_names_a_held_out_pair_and_no_other_caption_does(
    dataset: Dataset,
) -> None:
    held_out = set(zip(world.SHAPES, world.COLOURS, strict=True))
    for name, split in dataset.splits.items():
        refs = split.references["caption"]
        assert refs.parse is not None
        assert split.groups["held_out"].all() == split.groups["held_out"].any() == (name == "ood")
        for texts in refs.texts:
            for text in texts:
                slots = refs.parse(text)
                ((colour, shape),) = slots["emitter"]
                relation_clause = bool(held_out & slots["attribute"])
                assert relation_clause == (name == "ood")
                assert (shape, colour) not in held_out or name == "ood"


# --- images --------------------------------------------------------------------------------------


def test_shapes_stay_inside_their_cells_and_differ() -> None:
    masks = render.masks()
    assert masks.min() == 0
    assert masks.max() == 64
    assert (masks.sum(axis=(-1, -2)) >= 64 * 10).all()
    flat = masks.reshape(-1, render.CELL**2).astype(float)
    flat = flat - flat.mean(1, keepdims=True)
    flat /= np.sqrt((flat**2).sum(1, keepdims=True))
    alike = flat @ flat.T - np.eye(len(flat))
    assert alike.max() < 0.95


def test_sounds_are_distinct_in_spectrum_or_time() -> None:
    flat = sound.templates().reshape(len(world.SOUNDS), -1).astype(float)
    flat /= np.sqrt((flat**2).sum(1, keepdims=True))
    assert (flat @ flat.T - np.eye(len(flat))).max() < 0.75
