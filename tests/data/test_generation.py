"""The world of generation: what is planted, that it can be read, and that bytes are pinned."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import generation
from mmbench.data._contract import Request
from mmbench.data.generation import features, matcher, render, world
from mmbench.data.scenecap import noise
from mmbench.errors import SpecError
from mmbench.metrics import _frechet
from mmbench.references import ImageReferences
from mmbench.types import Dataset, Ragged, Split

SPLITS = {"train": 300, "val": 60, "test": 200}


def request(cache: Path, splits: dict[str, int] | None = None, **changes: object) -> Request:
    fields = {
        "task": "generation",
        "version": generation.VERSION,
        "seed": 20262,
        "params": {},
        "splits": SPLITS if splits is None else splits,
        "root": None,
        "cache": cache,
    }
    return Request(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return generation.build(request(tmp_path_factory.mktemp("cache")))


def told(split: Split) -> list[str]:
    held, words = split.inputs["caption"], world.vocabulary()
    assert isinstance(held, Ragged)
    rows = zip(held.values.tolist(), held.lengths.tolist(), strict=True)
    return [" ".join(words[i] for i in row[:length]) for row, length in rows]


def references(split: Split) -> ImageReferences:
    found = split.references["image"]
    assert isinstance(found, ImageReferences)
    return found


# --- the dataset as the contract wants it --------------------------------------------------------


def test_the_registry_finds_the_builder_and_a_build_has_the_signature_of_the_task(
    dataset: Dataset,
) -> None:
    assert registry.load("dataset", "generation") is generation.build
    task = catalog.task("generation")
    for name, modality in task.modalities.items():
        found = dataset.signature.modalities[name]
        assert (found.kind, found.shape) == (modality.kind, tuple(modality.shape))
    output = dataset.signature.outputs["image"]
    assert (output.kind, output.shape) == ("image", tuple(task.outputs["image"].shape))
    assert dataset.signature.main == "image"


@pytest.mark.parametrize("name", SPLITS)
def test_every_split_has_the_size_the_ids_and_the_shapes_that_were_asked_for(
    dataset: Dataset, name: str
) -> None:
    split, size = dataset.splits[name], SPLITS[name]
    assert len(split) == len(set(split.ids)) == size
    assert split.targets["image"].shape == (size, 3, 32, 32)
    assert split.targets["image"].dtype == np.uint8
    assert split.inputs["tone"].shape == (size, 1, 12, 16)  # type: ignore[union-attr]
    assert references(split).features.shape == (size, 64)
    assert set(references(split).attributes) == {"shape", "colour", "size", "place"}
    # Copies are looked for among all that models were trained on.
    assert len(references(split).known) == SPLITS["train"]  # type: ignore[arg-type]


def test_another_version_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"generation.toml: dataset.version = 9: .* version = 1"):
        generation.build(request(tmp_path, version=9))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"noise": 3}, "unknown key 'noise'"),
        ({"image_noise": -1}, "image_noise"),
        ({"image_noise": 41}, "image_noise"),
        ({"audio_noise": "much"}, "audio_noise"),
    ],
)
def test_wrong_parameters_are_refused_by_name(
    tmp_path: Path, params: dict[str, object], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        generation.build(request(tmp_path, params=params))


# --- the same bytes everywhere -------------------------------------------------------------------


def test_a_small_build_has_these_bytes_on_every_platform(tmp_path: Path) -> None:
    made = generation.build(request(tmp_path, {"train": 12, "val": 6, "test": 7}))
    digests = {}
    for field in ("image", "tone", "caption", "features"):
        total = hashlib.sha256()
        for split in made.splits.values():
            images = split.targets["image"]
            held = {
                "image": images,
                "tone": split.inputs["tone"],
                "caption": split.inputs["caption"].values,  # type: ignore[union-attr]
                "features": features.raw_features(images),
            }
            total.update(np.asarray(held[field]).astype("<i4").tobytes())
        digests[field] = total.hexdigest()
    assert digests == GOLDEN


GOLDEN = {
    "image": "646c141e55dc919337cad76ed91585cf262a7fbc8c1bb0b5e7272d8d8e2c3c58",
    "tone": "57ac5eb1790edff82c6c853777bd0ddbcc3b576717a646178a579ff3c00dc685",
    "caption": "4029de7b0ded94be0d71dab6b06b8aecade22fb73a95aa9f40bc7429596f0bd5",
    "features": "144b0e8040820e540cac47f047787e5bb87f911a3c923c3672b164080ba386bb",
}


def test_the_first_items_are_the_same_whatever_the_size(dataset: Dataset, tmp_path: Path) -> None:
    few = generation.build(request(tmp_path, {"train": 31, "val": 9, "test": 8}))
    for name, split in few.splits.items():
        large = dataset.splits[name].take(np.arange(len(split)))
        assert told(split) == told(large)
        assert np.array_equal(split.inputs["tone"], large.inputs["tone"])  # type: ignore[arg-type]
        assert np.array_equal(split.targets["image"], large.targets["image"])
        assert np.array_equal(references(split).features, references(large).features)


def test_another_seed_gives_other_items_and_no_split_repeats_another(
    dataset: Dataset, tmp_path: Path
) -> None:
    other = generation.build(request(tmp_path, {"train": 50, "val": 6, "test": 6}, seed=1))
    every = [*dataset.splits.values(), *other.splits.values()]
    digests = [hashlib.sha256(x.tobytes()).digest() for s in every for x in s.targets["image"]]
    assert len(set(digests)) == len(digests)


# --- what is planted -----------------------------------------------------------------------------


def test_facts_are_even_and_independent_in_pairs_as_alone() -> None:
    for split in ("train", "test"):
        facts = world.draw(0, split, 24_000)
        for at, count in enumerate((6, 2, 2, 2, 6, 6, 2)):
            shares = np.bincount(facts[:, at], minlength=count) / len(facts)
            assert np.abs(shares - 1 / count).max() < 0.015
            if split == "test":  # the second ones too
                shares = np.bincount(facts[1::2, at], minlength=count) / len(facts[1::2])
                assert np.abs(shares - 1 / count).max() < 0.02
        assert (facts[:, 4] != facts[:, 5]).all()
        for left in range(7):
            for right in range(left + 1, 7):
                if (left, right) != (4, 5):
                    assert abs(np.corrcoef(facts[:, left], facts[:, right])[0, 1]) < 0.03


def test_the_colour_takes_caption_and_tone() -> None:
    facts = world.draw(1, "train", 30_000)
    colour, tone = world.attributes_of(facts)["colour"], facts[:, -1]
    assert (colour == np.where(tone == 0, facts[:, 4], facts[:, 5])).all()
    for heard in (0, 1):  # the tone alone says nothing
        assert (
            np.abs(np.bincount(colour[tone == heard]) / (tone == heard).sum() - 1 / 6).max() < 0.02
        )
    assert (colour == facts[:, 4]).mean() == pytest.approx(0.5, abs=0.01)  # the caption one of two


def test_items_of_a_pair_differ_in_one_word_and_what_it_says(dataset: Dataset) -> None:
    split, train = dataset.splits["test"], dataset.splits["train"]
    captions, shown = told(split), references(split).attributes
    changed = []
    for first in range(0, len(split), 2):
        words = [caption.split() for caption in captions[first : first + 2]]
        assert sum(a != b for a, b in zip(*words, strict=True)) == 1
        changed.append(sum(of[first] != of[first + 1] for of in shown.values()))
    assert set(changed) == {0, 1}  # 0 where it is the colour that the tone does not choose
    assert 0.05 < 1 - np.mean(changed) < 0.3  # 1/6
    assert np.array_equal(split.clusters, np.arange(len(split)) // 2)  # type: ignore[arg-type]
    assert references(split).pairs is not None
    assert references(train).pairs is None
    assert train.clusters is None


def test_every_word_of_a_caption_is_known_and_a_caption_says_its_facts() -> None:
    facts = world.draw(3, "train", 500)
    captions = world.captions(3, "train", facts)
    assert {word for text in captions for word in text.split()} <= set(world.vocabulary())
    assert max(len(text.split()) for text in captions) == world.longest()
    assert len({text.partition(" ")[0] for text in captions}) > 4  # several wordings
    for text, fact in zip(captions, facts.tolist(), strict=True):
        colours = [word for word in text.split() if word in world.COLOURS]
        assert colours == [world.COLOURS[fact[4]], world.COLOURS[fact[5]]]
        for words in (
            world.SHAPE_WORDS[world.SHAPES[fact[0]]],
            world.SIZE_WORDS[world.SIZES[fact[1]]],
        ):
            assert sum(word in text.split() for word in words) == 1


def test_a_tone_tells_low_from_high_whatever_the_noise() -> None:
    facts = world.draw(4, "train", 400)
    for amplitude in (0, 24, 60):
        draws = noise.small_integers(4, "t", shape=(400, render.TONE_DRAWS))
        raw = noise.random_bytes(4, "n", shape=(400, *render.TONE))
        heard = render.tones(facts, draws, raw, amplitude).astype(int)[:, 0].sum(axis=1)
        above = heard[:, 8:].max(axis=1) > heard[:, :8].max(axis=1)
        assert (above == (facts[:, -1] == 1)).mean() == 1.0


# --- what is read off pictures -------------------------------------------------------------------


def drawn(seed: int, items: int, amplitude: int = 0) -> tuple[world.Ints, np.ndarray]:
    facts = world.draw(seed, "train", items)
    draws = noise.small_integers(seed, "i", shape=(items, render.IMAGE_DRAWS))
    raw = noise.random_bytes(seed, "n", shape=(items, *render.IMAGE))
    return facts, render.pictures(facts, draws, raw, amplitude)


@pytest.mark.parametrize("amplitude", [0, 20, 40])
def test_attributes_of_real_pictures_are_read_right(amplitude: int) -> None:
    facts, images = drawn(5, 600, amplitude)
    read, truth = matcher.read(images), world.attributes_of(facts)
    assert set(read) == set(truth)
    for name, values in truth.items():
        assert (read[name] == values).mean() >= 0.99, name


def test_pictures_of_nothing_show_nothing() -> None:
    draw = np.random.default_rng(0)
    noisy = draw.integers(0, 256, (20, *render.IMAGE), dtype=np.uint8)
    flat = np.full((3, *render.IMAGE), 220, dtype=np.uint8)
    for images in (noisy, flat):
        assert all((values == matcher.NONE).all() for values in matcher.read(images).values())


def test_features_are_exact_integers_in_any_order_of_items() -> None:
    images = drawn(6, 40)[1]
    found = features.raw_features(images)
    assert found.dtype == np.int32
    assert found.shape == (40, 64)
    assert np.array_equal(features.raw_features(images[::-1])[::-1], found)
    assert (found.std(axis=0) > 0).all(), "no number is the same for all pictures"


def test_features_see_what_generators_do_wrong() -> None:
    """Blur, noise, a colour that is missing, one ground for all, objects in half of the places."""
    real = drawn(7, 700)[1]
    draws = noise.small_integers(8, "i", shape=(700, render.IMAGE_DRAWS))
    silence = np.zeros((700, *render.IMAGE), dtype=np.uint8)
    other = world.draw(8, "train", 700)

    def altered(at: int, values: int) -> np.ndarray:
        changed = other.copy()
        changed[:, at] %= values
        return render.pictures(changed, draws, silence, 0)

    again = render.pictures(other, draws, silence, 0)
    blurred = sum(np.roll(again.astype(int), s, (2, 3)) for s in ((0, 0), (0, 1), (1, 0), (1, 1)))
    plain = draws.copy()
    plain[:, :5] = 2**15
    wrong = {
        "blurred": (np.asarray(blurred) // 4).astype(np.uint8),
        "noisy": drawn(8, 700, 8)[1],
        "four shapes": altered(0, 4),
        "one row": altered(2, 1),
        "one ground": render.pictures(other, plain, silence, 0),
    }
    centre, spread = features.centre_and_spread(features.raw_features(real))

    def distance(images: np.ndarray) -> float:
        sides = [features.scaled(features.raw_features(x), centre, spread) for x in (real, images)]
        return float(_frechet.frechet(*sides)[0])

    floor = distance(again)
    for name, images in wrong.items():
        assert distance(images) > 1.2 * floor, name
