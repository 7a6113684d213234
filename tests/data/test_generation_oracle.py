"""The oracle of generation, its bounds, and generators that only one kind of metric finds out."""

from __future__ import annotations

import numpy as np
import pytest
from test_generation import SPLITS, references, request

from mmbench import catalog
from mmbench.data import generation
from mmbench.data.generation import oracle, world
from mmbench.data.scenecap.grammar import SHAPE_WORDS, SIZE_WORDS
from mmbench.records import LEAK_SE
from mmbench.scoring import Score, score
from mmbench.types import Dataset, Predictions, Ragged

METRICS = (
    "attribute_accuracy",
    "attribute_accuracy(attribute=colour)",
    "kid",
    "fid_infinite",
    "real_fake_auc",
    "memorised",
    "edit_accuracy",
)
HEARD = {
    "caption+tone": frozenset({"caption", "tone"}),
    "caption": frozenset({"caption"}),
    "tone": frozenset({"tone"}),
    "": frozenset[str](),
}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    sizes = {**SPLITS, "test": 400, "train": 400}
    return generation.build(request(tmp_path_factory.mktemp("cache"), sizes))


@pytest.fixture(scope="module")
def scored(dataset: Dataset) -> dict[str, dict[str, Score]]:
    split = dataset.splits["test"]

    def of(said: Predictions) -> dict[str, Score]:
        found = score(said, split.references, "image", METRICS, split.clusters, split.ids)
        return dict(found.scores)

    assert dataset.oracle is not None
    found = {name: of(dataset.oracle(split, heard)) for name, heard in HEARD.items()}
    found["means"] = of(oracle.class_means(split))
    found["copies"] = of(oracle.copies(split, dataset.splits["train"]))
    return found


def test_the_oracle_shows_what_its_modalities_tell(scored: dict[str, dict[str, Score]]) -> None:
    whole, colour = METRICS[:2]
    assert scored["caption+tone"][whole].value >= 0.99
    assert scored["caption"][colour].value == pytest.approx(0.5, abs=0.1)
    assert scored["caption"][whole].value == pytest.approx(0.875, abs=0.03)
    chance = (1 / 6 + 1 / 6 + 1 / 2 + 1 / 4) / 4
    for name in ("tone", ""):
        assert scored[name][whole].value == pytest.approx(chance, abs=0.05)
        assert scored[name]["edit_accuracy"].value < 0.1


def test_whatever_it_may_look_at_the_oracle_draws_pictures_as_good_as_real(
    scored: dict[str, dict[str, Score]],
) -> None:
    for name in HEARD:
        assert abs(scored[name]["kid"].value) < 0.03
        assert abs(scored[name]["fid_infinite"].value) < 1.0
        assert scored[name]["real_fake_auc"].value < 0.6
        assert scored[name]["memorised"].value < 0.15


def test_the_bounds_hold_for_the_oracle(
    dataset: Dataset, scored: dict[str, dict[str, Score]]
) -> None:
    proven = generation.bounds(dataset.splits["test"])
    assert proven["attribute_accuracy"] == {
        "tone": pytest.approx((1 / 6 + 1 / 6 + 1 / 2 + 1 / 4) / 4),
        "caption": 0.875,
    }
    for metric in METRICS[:2]:
        for name, bound in proven[metric].items():
            for heard in (name, ""):
                got = scored[heard][metric]
                assert got.value <= bound + LEAK_SE * got.se


def test_the_bounds_are_what_counting_all_items_there_can_be_gives(dataset: Dataset) -> None:
    """Whatever is answered to a caption, or to a tone: best by trying each answer on every item."""
    values = (len(world.SHAPES), len(world.SIZES), 2, 2, 6, 6, 2)
    facts = np.array([f for f in np.ndindex(values) if f[4] != f[5]], dtype=np.int64)
    seen = world.attributes_of(facts)
    keys = {
        "caption": np.unique(facts[:, :6], axis=0, return_inverse=True)[1].ravel(),
        "tone": facts[:, 6],
    }
    for heard, key in keys.items():
        best = {}
        for name, right in seen.items():
            counts = np.zeros((key.max() + 1, len(world.ATTRIBUTES[name])))
            np.add.at(counts, (key, right), 1)
            best[name] = counts.max(axis=1).sum() / len(facts)
        proven = generation.bounds(dataset.splits["test"])
        assert proven["attribute_accuracy"][heard] == pytest.approx(np.mean(list(best.values())))
        for name, value in best.items():
            bound = proven[f"attribute_accuracy(attribute={name})"].get(heard, 1.0)
            assert bound == pytest.approx(value)


def test_what_the_oracle_knows_is_read_off_words_and_sound(dataset: Dataset) -> None:
    """Its facts come from how an item was made; here from the caption and the tone."""
    split = dataset.splits["test"]
    captions, tones = split.inputs["caption"], split.inputs["tone"]
    assert isinstance(captions, Ragged)
    words = world.vocabulary()
    table = {
        **{w: ("shape", k) for k, group in enumerate(SHAPE_WORDS.values()) for w in group},
        **{w: ("size", k) for k, group in enumerate(SIZE_WORDS.values()) for w in group},
        **{w: ("row", k) for k, group in enumerate(world.ROW_WORDS.values()) for w in group},
        **{w: ("column", k) for k, group in enumerate(world.COLUMN_WORDS.values()) for w in group},
    }
    known = oracle.known(split, HEARD["caption+tone"])
    bands = np.asarray(tones).astype(int)[:, 0].sum(axis=1)  # [N, 16]: the upper half is high
    above = bands[:, 8:].max(axis=1) > bands[:, :8].max(axis=1)
    assert (above == (known[:, 6] == 1)).all()
    for place, row in enumerate(captions.values.tolist()):
        told = [words[token] for token in row if token]
        read = dict(table[word] for word in told if word in table)
        colours = [world.COLOURS.index(word) for word in told if word in world.COLOURS]
        facts = [read[name] for name in ("shape", "size", "row", "column")] + colours
        assert facts == known[place, :6].tolist()


def test_pictures_of_other_captions_show_no_more_than_chance(dataset: Dataset) -> None:
    split = dataset.splits["test"]
    assert dataset.oracle is not None
    said = dataset.oracle(split, HEARD["caption+tone"])
    others = np.random.default_rng(0).permutation(len(split)).tolist()
    rolled = Predictions(split.ids, {"image": [said.outputs["image"][k] for k in others]})
    found = score(
        rolled, split.references, "image", METRICS[:2], split.clusters, split.ids
    ).scores  # fmt: skip
    chance = (1 / 6 + 1 / 6 + 1 / 2 + 1 / 4) / 4
    got = found["attribute_accuracy"]
    assert got.value == pytest.approx(chance, abs=4 * got.se)


def test_the_mean_of_all_right_pictures_shows_attributes_and_is_found_out_at_once(
    scored: dict[str, dict[str, Score]],
) -> None:
    means, real = scored["means"], scored["caption+tone"]
    assert means["attribute_accuracy"].value > 0.85
    assert means["kid"].low > 10 * max(real["kid"].high, 0.005)
    assert means["fid_infinite"].low > 5
    assert means["real_fake_auc"].value > 0.95


def test_copies_of_training_pictures_look_real_and_are_found_to_be_copies(
    scored: dict[str, dict[str, Score]],
) -> None:
    copies = scored["copies"]
    assert copies["attribute_accuracy"].value > 0.7
    assert copies["kid"].value < 0.05
    assert copies["real_fake_auc"].value < 0.62
    assert copies["memorised"].value > 0.9


def test_the_oracle_takes_parts_of_a_split_and_says_the_same_twice(dataset: Dataset) -> None:
    assert dataset.oracle is not None
    split = dataset.splits["test"]
    part = split.take(np.arange(20))
    for heard in HEARD.values():
        first, again = (dataset.oracle(part, heard).outputs["image"] for _ in range(2))
        assert np.array_equal(first, again)
        assert np.asarray(first).dtype == np.uint8
        assert len(first) == 20
    real = split.targets["image"][:20]
    own = np.asarray(dataset.oracle(part, HEARD["caption+tone"]).outputs["image"])
    assert (own != real).any(axis=(1, 2, 3)).all(), "no picture is the real one"


def test_the_levels_of_the_task_are_those_of_the_oracle(
    scored: dict[str, dict[str, Score]],
) -> None:
    levels = catalog.task("generation").levels
    # How real pictures look, no modality tells: metrics of that have no levels.
    steered = {n for n in catalog.task("generation").metric_names if n.startswith("attribute")}
    assert set(levels) == steered | {"edit_accuracy"}
    whole = levels["attribute_accuracy"]
    assert whole.ceiling >= 0.99
    assert whole.bound["caption"] == 0.875
    assert whole.alone["caption"] == pytest.approx(
        scored["caption"]["attribute_accuracy"].value, abs=0.03
    )


def test_every_picture_of_a_split_has_its_own_features(dataset: Dataset) -> None:
    found = references(dataset.splits["test"])
    assert found.read is not None
    read = found.read(dataset.splits["test"].targets["image"][:50])
    assert np.array_equal(read.features, found.features[:50])
    assert len(np.unique(found.features, axis=0)) == len(found.features)
