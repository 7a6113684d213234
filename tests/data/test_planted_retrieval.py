"""Planted retrieval: what is shown can be seen, pinned bytes, and an oracle computed twice."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _load, interactions, scenesearch
from mmbench.data._contract import Request
from mmbench.data.scenesearch import picture, sound, wording, world
from mmbench.data.scenesearch.oracle import ideal, known
from mmbench.data.scenesearch.params import Params
from mmbench.errors import SpecError, UsageError
from mmbench.levels import levels
from mmbench.references import MatchReferences
from mmbench.scoring import score
from mmbench.types import Dataset, Predictions, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 60, "val": 40, "test": 300}
STRUCTURES: dict[str, dict[str, Any]] = {
    "independent": {},
    "xor": {"structure": "xor", "colours": 4, "times": 4},
}
SETS = [frozenset(s) for s in ((), ("image",), ("audio",), ("image", "audio"))]
TEXT = frozenset({"text"})
METRICS = [
    f"{name}{way}"
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "retrieval_map", "mean_rank")
    for way in ("", "_back")
]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(structure: str = "independent", sizes: Any = SPLITS, **params: Any) -> Dataset:
        given = {**STRUCTURES[structure], **params}
        return scenesearch.build(Request("task", 1, 7, given, sizes, None, tmp_path))

    return made


def values(said: Predictions, split: Split, metrics: list[str]) -> dict[str, float]:
    scored = score(said, split.references, "match", metrics, ids=split.ids).scores
    return {name: one.value for name, one in scored.items()}


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("structure", STRUCTURES)
def test_shapes_are_those_that_were_promised_and_no_item_is_there_twice(
    make: Make, structure: str
) -> None:
    dataset = make(structure)
    assert registry.load("dataset", "scenesearch") is scenesearch.build
    seen = set()
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        assert split.gallery is not None
        assert len(split) == len(split.gallery) == len(set(split.ids)) == size
        for modality, told in dataset.signature.modalities.items():
            side = split if told.role == "query" else split.gallery
            x = side.inputs[modality]
            assert getattr(x, "values", x).shape == (size, *told.shape)  # type: ignore[union-attr]
        for image, audio in zip(split.inputs["image"], split.inputs["audio"], strict=True):  # type: ignore[arg-type]
            seen.add(hashlib.sha256(image.tobytes() + audio.tobytes()).digest())
    assert len(seen) == sum(SPLITS.values())


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_first_items_do_not_depend_on_sizes(make: Make, structure: str) -> None:
    large = make(structure).splits["test"]
    small = make(structure, {**SPLITS, "test": 12}).splits["test"]
    for modality in ("image", "audio"):
        np.testing.assert_array_equal(large.inputs[modality][:12], small.inputs[modality])  # type: ignore[index,arg-type]
    assert small.references["match"].names == large.references["match"].names[:12]  # type: ignore[attr-defined]


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "independent": "bb4ce598b1df05febeee70a2ac580e8d56a694c38f64e5eeb87e6cdf250e6555",
    "xor": "1a3d964d8de88a3206f23ddbf54c151a6a15c5a41dbfa76d280bd22ff353aed3",
}


@pytest.mark.parametrize("structure", BYTES)
def test_bytes_are_pinned(make: Make, structure: str) -> None:
    total = hashlib.sha256()
    for split in make(structure).splits.values():
        assert split.gallery is not None
        text = split.gallery.inputs["text"]
        for array in (*split.inputs.values(), text.values, *split.targets.values()):  # type: ignore[union-attr]
            total.update(np.ascontiguousarray(array).tobytes())  # type: ignore[arg-type]
    assert total.hexdigest() == BYTES[structure]


def test_images_show_shape_colour_and_ground_whatever_the_noise_and_the_place(make: Make) -> None:
    split = make("xor", {**SPLITS, "test": 150}, colours=12, image_noise=60).splits["test"]
    images = np.asarray(split.inputs["image"]).astype(np.float64)
    found = []
    for image in images:
        best = (np.inf, (0, 0, 0))
        for down, across in itertools.product(range(picture.PLACES), repeat=2):
            # Twelve shapes at this place: the mean inside and outside says which colours they are.
            masks = np.zeros((12, *picture.SHAPE[1:]), dtype=bool)
            top, left = down * picture.APART, across * picture.APART
            masks[:, top : top + picture.SIDE, left : left + picture.SIDE] = picture.masks()
            inside = masks.reshape(12, -1).astype(float)
            pixels = image.reshape(3, -1)
            counts = inside.sum(axis=1, keepdims=True)
            fore = inside @ pixels.T / counts
            back = (1 - inside) @ pixels.T / (pixels.shape[1] - counts)
            apart = counts[:, 0] * (fore**2).sum(axis=1)
            apart += (pixels.shape[1] - counts[:, 0]) * (back**2).sum(axis=1)
            shape = int(apart.argmax())  # what is left over is least
            if -apart[shape] < best[0]:
                colour = _nearest(fore[shape], picture.PALETTE, world.VALUES["colour"])
                ground = _nearest(back[shape], picture.GROUNDS, world.VALUES["ground"])
                best = (-apart[shape], (shape, colour, ground))
        found.append(best[1])
    for column, name in enumerate(("shape", "colour", "ground")):
        told = [world.VALUES[name][one[column]] for one in found]
        assert told == list(split.groups[name])


def _nearest(mean: Any, palette: Any, names: tuple[str, ...]) -> int:
    table = np.array([palette[name] for name in names])
    return int(((table - mean) ** 2).sum(axis=1).argmin())


def test_sounds_have_animal_and_air_whatever_the_noise(make: Make) -> None:
    split = make("xor", audio_noise=60).splits["test"]
    audio = np.asarray(split.inputs["audio"]).astype(np.float32).reshape(len(split), -1)
    table, clean = [], []
    nothing = np.zeros(1, dtype=np.int64)
    for animal, air, calls in itertools.product(range(12), range(4), range(4)):
        for begin in range(4 - calls):
            scene = world.Scenes(nothing, nothing, nothing + animal, nothing, nothing + air)
            draws = np.array(
                [[(calls << 16) // 4 + 100, (begin << 16) // (4 - calls) + 100, 1 << 15]]
            )
            blank = np.zeros((1, *sound.SHAPE), dtype=np.uint8)
            clean.append(sound.render(scene, draws, blank, 0).reshape(-1))
            table.append((animal, air))
    templates = np.array(clean, dtype=np.float32)
    near = (templates**2).sum(axis=1) - 2 * audio @ templates.T
    found = np.array(table)[near.argmin(axis=1)]
    for column, name in enumerate(("sound", "air")):
        assert [world.VALUES[name][k] for k in found[:, column]] == list(split.groups[name])


@pytest.mark.parametrize("structure", STRUCTURES)
def test_texts_name_what_is_told_and_nothing_else(make: Make, structure: str) -> None:
    split = make(structure).splits["test"]
    names = split.references["match"].names  # type: ignore[attr-defined]
    assert len({text.split()[0] for text in names}) > 2, "wordings differ"
    for k, text in enumerate(names):
        words = text.split()
        last = "time" if structure == "independent" else "heading"
        for name in ("shape", "colour", "sound"):
            assert split.groups[name][k] in words
        assert any(way in text for way in wording.LAST[str(split.groups[last][k])])
        if structure == "xor":
            assert not set(world.VALUES["time"]) & set(words)


def test_a_heading_is_known_to_both_modalities_and_to_none_alone() -> None:
    params = Params(structure="xor", times=4)
    scenes = world.draw(7, "train", 20_000, params)
    np.testing.assert_array_equal(scenes.ground ^ scenes.air, scenes.heading)
    for values in (scenes.ground, scenes.air):
        table = np.histogram2d(values, scenes.heading, bins=4)[0]
        assert table / len(scenes) == pytest.approx(np.full((4, 4), 1 / 16), abs=0.008)


# --- the oracle ----------------------------------------------------------------------------------


def by_hand(split: Split, names: tuple[str, ...], back: bool) -> dict[str, float]:
    """Put equal candidates in every order there is, and count."""
    assert split.gallery is not None
    sides = [list(zip(*(part.groups[n] for n in names), strict=True)) if names else
             [()] * len(part) for part in (split, split.gallery)]  # fmt: skip
    askers, candidates = sides[::-1] if back else sides
    totals: dict[str, list[float]] = {}
    for own, key in enumerate(askers):
        alike = [c for c, other in enumerate(candidates) if other == key]
        ranks = [order.index(own) + 1 for order in itertools.permutations(alike)]
        for k in (1, 5, 10):
            totals.setdefault(f"recall_at_{k}", []).append(np.mean([r <= k for r in ranks]))
        totals.setdefault("mrr", []).append(np.mean([1 / r for r in ranks]))
        totals.setdefault("mean_rank", []).append(np.mean(ranks))
    return {name: float(np.mean(each)) for name, each in totals.items()}


@pytest.mark.parametrize("structure", STRUCTURES)
def test_the_closed_form_is_what_counting_gives(make: Make, structure: str) -> None:
    few = {"shapes": 2, "sounds": 2, "times": 2, "colours": 2}
    split = make(structure, {**SPLITS, "test": 7}, **few).splits["test"]
    for heard in SETS:
        names = known(split, heard | TEXT)
        found = ideal(split, names)
        for way in ("", "_back"):
            for metric, value in by_hand(split, names, bool(way)).items():
                assert found[f"{metric}{way}"] == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize("structure", STRUCTURES)
@pytest.mark.parametrize("heard", SETS, ids=lambda s: "+".join(sorted(s)) or "nothing")
def test_the_oracle_scores_what_is_proven_to_be_best(
    make: Make, structure: str, heard: frozenset[str]
) -> None:
    whole = make(structure).splits["test"]
    proven = scenesearch.bounds(whole)
    key = "+".join(name for name in ("image", "audio", "text") if name in heard | TEXT)
    got = values(scenesearch.oracle(whole, heard | TEXT), whole, [*METRICS, "rsum"])
    for metric, value in got.items():
        assert value == pytest.approx(proven[metric][key], abs=1e-9), metric
    part = whole.take(np.array([5, 3, 200]))
    names = known(part, heard | TEXT)
    got = values(scenesearch.oracle(part, heard | TEXT), part, ["recall_at_1", "mrr_back"])
    best = ideal(part, names)
    assert got == pytest.approx({metric: best[metric] for metric in got}, abs=1e-9)


def scores_of(split: Split, heard: frozenset[str]) -> np.ndarray:
    """Return how alike the oracle finds each query and each text, 1 where all that is known is."""
    columns = scenesearch.oracle(split, heard | TEXT).columns
    queries, entries = (np.asarray(columns[f"match.{n}"]) for n in ("embedding", "gallery"))
    return (queries @ entries.T == queries.sum(axis=1, keepdims=True)).astype(float)


def test_a_sum_of_scores_is_as_good_as_both_together_unless_texts_name_an_xor(make: Make) -> None:
    got = {}
    for structure in STRUCTURES:
        split = make(structure).splits["test"]
        added = scores_of(split, SETS[1]) + scores_of(split, SETS[2])
        said = Predictions(split.ids, {"match": [None] * len(split)}, {"match.scores": added})  # type: ignore[dict-item]
        late = values(said, split, METRICS)
        both = values(scenesearch.oracle(split, SETS[3] | TEXT), split, METRICS)
        best = scenesearch.late_references(split)
        assert late == pytest.approx({name: best[name] for name in late}, abs=1e-9)
        got[structure] = both["recall_at_1"] - late["recall_at_1"]
    assert got["independent"] == pytest.approx(0.0, abs=1e-9)
    assert got["xor"] > 0.12


@pytest.mark.parametrize("structure", STRUCTURES)
def test_permuted_labels_fall_to_chance(make: Make, structure: str) -> None:
    split = make(structure).splits["test"]
    size = len(split)
    right = np.random.default_rng(0).permutation(size).tolist()
    references = {"match": MatchReferences([(k,) for k in right], size)}
    said = scenesearch.oracle(split, SETS[3] | TEXT)
    scored = score(said, references, "match", ["recall_at_10", "mean_rank"], ids=split.ids).scores
    assert scored["recall_at_10"].value == pytest.approx(
        10 / size, abs=4 * (10 / size / size) ** 0.5
    )
    assert scored["mean_rank"].value == pytest.approx((size + 1) / 2, rel=0.2)


def test_without_texts_or_queries_nothing_is_found(make: Make) -> None:
    split = make().splits["test"]
    for heard in (frozenset(), frozenset({"image", "audio"}), TEXT):
        assert values(scenesearch.oracle(split, heard), split, ["recall_at_1"]) == {
            "recall_at_1": pytest.approx(1 / len(split))
        }


@pytest.mark.parametrize("name", ["retrieval", "retrieval_xor"])
def test_levels_in_the_tomls_are_those_that_are_computed(name: str) -> None:
    task = catalog.task(name)
    found = levels(task, _load.load(task))
    assert found == task.levels
    assert list(found["recall_at_1"].alone) == ["image", "audio"]


def test_levels_are_near_what_the_numbers_of_values_say() -> None:
    """Of M texts with K keys ``K (1 - (1 - 1/K) ** M)`` are expected to be different."""
    level = catalog.task("retrieval").levels["recall_at_1"]
    size = catalog.task("retrieval").splits["test"]
    for keys, found in (
        (12 * 12 * 3, level.alone["image"]),
        (12 * 3, level.alone["audio"]),
        (12 * 12 * 12 * 3, level.ceiling),
    ):
        assert found == pytest.approx(keys / size * (1 - (1 - 1 / keys) ** size), abs=0.03)
    # As a prototype had them on draws of its own.
    assert level.alone == pytest.approx({"image": 0.378, "audio": 0.036}, abs=0.03)
    assert level.ceiling == pytest.approx(0.9, abs=0.03)


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"structure": "xnor"}, "structure: 'xnor' is none of its values: did you mean 'xor'?"),
        ({"structure": "xor"}, "params.times = 3: in the structure 'xor'"),
        ({"shapes": 0}, "shapes: expected `int` >= 2"),
        ({"times": 5}, "times: expected `int` <= 4"),
        ({"image_noise": -1}, "image_noise: expected `int` >= 0"),
        ({"audio_noise": 61}, "audio_noise: expected `int` <= 60"),
        ({"colour": 3}, "unknown key 'colour': did you mean 'colours'?"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_wrong_parameters_are_one_line_that_names_the_key(
    tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        scenesearch.build(Request("unread", 1, 7, params, SPLITS, None, tmp_path))
    assert message in str(caught.value)
    assert "tasks/unread.toml: dataset.params" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_another_dataset_and_another_modality_are_refused(
    make: Make, tmp_path: Path
) -> None:
    with pytest.raises(SpecError, match="this mmbench makes scenesearch 1; write version = 1"):
        scenesearch.build(Request("mine", 2, 7, {}, SPLITS, None, tmp_path))
    with pytest.raises(UsageError, match="unknown modality 'smell': this dataset has image, audio"):
        scenesearch.oracle(make().splits["test"], frozenset({"smell"}))
    request = Request("x", 1, 7, {"structure": "unique"}, SPLITS, None, tmp_path)
    with pytest.raises(UsageError, match="not of the dataset 'scenesearch'"):
        scenesearch.oracle(interactions.build(request).splits["test"], TEXT)
