"""Planted recommendation: who likes what can be known exactly, pinned bytes, what is refused."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _load, tastes
from mmbench.data._contract import Request
from mmbench.data.scenesearch.world import VALUES
from mmbench.data.tastes import law as laws
from mmbench.data.tastes.oracle import ideal, of_chances
from mmbench.data.tastes.params import Params
from mmbench.errors import SpecError, UsageError
from mmbench.levels import levels
from mmbench.references import LabelReferences, MatchReferences
from mmbench.scoring import score
from mmbench.types import Dataset, Predictions, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 40, "val": 30, "test": 400}
ALL = frozenset({"user", "image", "text"})
SETS = [frozenset(s) for k in range(4) for s in itertools.combinations(sorted(ALL), k)]
NAMES = {"next_item": "match", "click": "click"}
RANKED = ["recall_at_1", "recall_at_10", "mrr", "retrieval_ndcg", "mean_rank"]
CLICKED = ["nll", "bits", "brier", "accuracy"]


def label(heard: frozenset[str]) -> str:
    return "+".join(sorted(heard)) or "nothing"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(question: str = "next_item", sizes: Any = SPLITS, **params: Any) -> Dataset:
        given = {"question": question, **params}
        return tastes.build(Request("task", 1, 7, given, sizes, None, tmp_path))

    return made


def values(said: Predictions, split: Split, metrics: list[str]) -> dict[str, float]:
    (output,) = split.references
    scored = score(said, split.references, output, metrics, ids=split.ids).scores
    return {name: one.value for name, one in scored.items()}


# --- data ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", NAMES)
def test_shapes_are_those_that_were_promised_and_no_item_is_there_twice(
    make: Make, question: str
) -> None:
    dataset = make(question)
    assert registry.load("dataset", "tastes") is tastes.build
    assert list(dataset.signature.outputs) == [NAMES[question]]
    seen = set()
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        for modality, told in dataset.signature.modalities.items():
            side = split if told.role == "query" else split.gallery
            assert side is not None
            x = side.inputs[modality]
            assert getattr(x, "values", x).shape == (size, *told.shape)  # type: ignore[union-attr]
        items = split if split.gallery is None else split.gallery
        for user, image in zip(split.inputs["user"], items.inputs["image"], strict=True):  # type: ignore[arg-type]
            seen.add(hashlib.sha256(user.tobytes()).digest())
            seen.add(hashlib.sha256(image.tobytes()).digest())
    assert len(seen) == 2 * sum(SPLITS.values())


@pytest.mark.parametrize("question", NAMES)
def test_the_first_items_do_not_depend_on_sizes(make: Make, question: str) -> None:
    large = make(question).splits["test"]
    small = make(question, {**SPLITS, "test": 11}).splits["test"]
    np.testing.assert_array_equal(large.inputs["user"][:11], small.inputs["user"])  # type: ignore[index,arg-type]
    for column in ("colour", "brand", "shape"):
        np.testing.assert_array_equal(large.groups[column][:11], small.groups[column])


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "next_item": "1a4720b33074d42e60bb129716d81bf2833dd6334c8983d3d86ef4080ccf65a0",
    "click": "b494e3dbbed35af717da225e24df6c0f0b22d27b656399b456c8499f0255595e",
}


@pytest.mark.parametrize("question", BYTES)
def test_bytes_are_pinned(make: Make, question: str) -> None:
    total = hashlib.sha256()
    for split in make(question).splits.values():
        items = split if split.gallery is None else split.gallery
        text = items.inputs["text"]
        for array in (split.inputs["user"], items.inputs["image"], text.values):  # type: ignore[union-attr]
            total.update(np.ascontiguousarray(array).tobytes())  # type: ignore[arg-type]
        for array in split.targets.values():
            total.update(np.ascontiguousarray(array).tobytes())
    assert total.hexdigest() == BYTES[question]


def test_clicks_are_as_frequent_as_the_law_says(make: Make) -> None:
    quiet = {"amplitude": 10.0, "noise": 0.1}
    drawn = laws.draw(7, "train", 8000, Params(question="click", **quiet))
    likes = [
        drawn.users[:, first : first + 12].argmax(axis=1) == shown
        for first, shown in ((0, drawn.colour), (12, drawn.brand))
    ]
    clicked = drawn.clicked
    for colour, brand in itertools.product((0, 1), repeat=2):
        some = (likes[0] == colour) & (likes[1] == brand)
        assert some.mean() == pytest.approx(0.25, abs=0.03)
        assert clicked[some].mean() == pytest.approx(laws.CLICKS[colour, brand], abs=0.04)
    nobody = make("click", amplitude=0.0).splits["train"]
    chances = laws.click_chances(nobody, ALL)
    assert np.ptp(chances) < 1e-12, "users who show nothing are all alike"


def test_a_user_takes_an_item_that_the_user_likes(make: Make) -> None:
    split = make(amplitude=10.0, noise=0.1).splits["test"]
    users = np.asarray(split.inputs["user"])
    for first, name, told in ((0, "colour", VALUES["colour"]), (12, "brand", laws.BRANDS)):
        liked = users[:, first : first + 12].argmax(axis=1)
        np.testing.assert_array_equal(liked, laws.codes(split.groups[name], told))
    names = split.references["match"].names  # type: ignore[attr-defined]
    assert names[3].split() == [split.groups[n][3] for n in ("colour", "brand", "shape")]


# --- the posterior, by hand ----------------------------------------------------------------------


def normal(x: float, mean: float) -> float:
    return math.exp(-0.5 * (x - mean) ** 2)


def likelihood(user: list[float], amplitude: float, likes: int) -> float:
    return math.prod(normal(x, amplitude * (k == likes)) for k, x in enumerate(user))


@pytest.mark.parametrize("heard", SETS, ids=label)
def test_the_chance_of_a_click_is_what_adding_up_all_cases_gives(
    make: Make, heard: frozenset[str]
) -> None:
    split = make("click", {**SPLITS, "test": 6}, colours=3, brands=2).splits["test"]
    found = laws.click_chances(split, heard)
    users = np.asarray(split.inputs["user"]).tolist()
    colour = laws.codes(split.groups["colour"], VALUES["colour"])
    brand = laws.codes(split.groups["brand"], laws.BRANDS)
    for n, user in enumerate(users):
        yes = every = 0.0
        for g, k, i, j in itertools.product(range(3), range(2), range(3), range(2)):
            if ("image" in heard and i != colour[n]) or ("text" in heard and j != brand[n]):
                continue
            p = (0.5 if i == g else 0.25) * 0.5  # of two brands, the other one is as likely
            if "user" in heard:
                p *= likelihood(user[:3], 3.5, g) * likelihood(user[3:], 3.5, k)
            every += p
            yes += p * laws.CLICKS[int(i == g), int(j == k)]
        assert found[n] == pytest.approx(yes / every, abs=1e-9)


@pytest.mark.parametrize("heard", [s for s in SETS if "user" in s], ids=label)
def test_the_next_item_is_as_likely_as_adding_up_all_cases_gives(
    make: Make, heard: frozenset[str]
) -> None:
    split = make(sizes={**SPLITS, "test": 5}, colours=2, brands=3).splits["test"]
    assert split.gallery is not None
    columns = tastes.oracle(split, heard).columns
    queries, entries = (np.asarray(columns[f"match.{n}"]) for n in ("embedding", "gallery"))
    logs = queries @ entries.T
    found = np.exp(logs) / np.exp(logs).sum(axis=1, keepdims=True)
    colour = laws.codes(split.gallery.groups["colour"], VALUES["colour"])
    brand = laws.codes(split.gallery.groups["brand"], laws.BRANDS)
    for n, user in enumerate(np.asarray(split.inputs["user"]).tolist()):
        weights = []
        for i, j in zip(colour, brand, strict=True):
            p = 0.0
            for g, k in itertools.product(range(2), range(3)):
                # Of an attribute that is not heard an item of any value may be the right one.
                fits = ("image" not in heard or g == i) and ("text" not in heard or k == j)
                p += fits * likelihood(user[:2], 3.5, g) * likelihood(user[2:], 3.5, k)
            weights.append(p)
        assert found[n] == pytest.approx(np.array(weights) / sum(weights), abs=1e-9)


def test_expected_measures_are_those_of_the_best_of_all_orders() -> None:
    logs = np.log(np.array([[0.5, 0.2, 0.2, 0.1], [0.1, 0.6, 0.1, 0.2]]))
    found = of_chances(logs, "")
    worth: dict[str, Callable[[int], float]] = {
        "recall_at_1": lambda r: float(r == 1),
        "mrr": lambda r: 1 / r,
        "retrieval_ndcg": lambda r: 1 / math.log2(r + 1),
        "mean_rank": lambda r: -r,
    }
    for metric, value in worth.items():
        best = [
            max(
                sum(p * value(rank) for p, rank in zip(row, order, strict=True))
                for order in itertools.permutations((1, 2, 3, 4))
            )
            for row in np.exp(logs)
        ]
        assert found[metric] == pytest.approx(abs(np.mean(best)))


# --- levels --------------------------------------------------------------------------------------


@pytest.mark.parametrize("heard", SETS, ids=label)
@pytest.mark.parametrize("question", NAMES)
def test_the_oracle_scores_about_what_is_proven_to_be_best(
    make: Make, question: str, heard: frozenset[str]
) -> None:
    split = make(question).splits["test"]
    metrics = CLICKED if question == "click" else [*RANKED, *(f"{m}_back" for m in RANKED)]
    best = ideal(split, heard)
    said = tastes.oracle(split, heard)
    scored = score(said, split.references, NAMES[question], metrics, ids=split.ids).scores
    for metric in metrics:
        got = scored[metric]
        spread = 0.0 if np.isnan(got.se) else got.se
        assert got.value == pytest.approx(best[metric], abs=4 * spread + 1e-6), metric
    part = tastes.oracle(split.take(np.array([7, 2])), heard)
    assert list(part.ids) == ["test-0007", "test-0002"]


def test_knowing_more_is_better_and_modalities_alone_know_nothing_of_a_click(make: Make) -> None:
    split = make("click").splits["test"]
    proven = tastes.bounds(split)["nll"]
    late = tastes.late_bounds(split)["nll"]
    for alone in ("user", "image", "text", "image+text"):
        assert proven[alone] == pytest.approx(late)
    assert late - 0.05 > proven["user+image"] > proven["user+image+text"] + 0.05
    item = make().splits["test"]
    found = tastes.bounds(item)["retrieval_ndcg"]
    assert found["image+text"] < found["user+image"] < found["user+image+text"] / 3
    assert tastes.late_references(item)["mrr"] == ideal(item, ALL)["mrr"]


def test_permuted_labels_fall_to_chance(make: Make) -> None:
    order = np.random.default_rng(0).permutation(SPLITS["test"])
    items = make().splits["test"]
    size = len(items)
    right = {"match": MatchReferences([(k,) for k in order.tolist()], size)}
    said = tastes.oracle(items, ALL)
    got = score(said, right, "match", ["recall_at_10"], ids=items.ids).scores["recall_at_10"]
    assert got.value == pytest.approx(10 / size, abs=4 * (10 / size / size) ** 0.5)
    clicks = make("click").splits["test"]
    swapped = np.asarray(clicks.targets["click"])[order]
    truth = {"click": LabelReferences(swapped, laws.CLASSES)}
    said = tastes.oracle(clicks, ALL)
    auroc = score(said, truth, "click", ["auroc"], ids=clicks.ids).scores["auroc"].value
    assert auroc == pytest.approx(0.5, abs=4 * 0.5 / SPLITS["test"] ** 0.5)


@pytest.mark.parametrize("name", ["recommendation", "click_prediction"])
def test_levels_in_the_tomls_are_those_that_are_computed(name: str) -> None:
    task = catalog.task(name)
    found = levels(task, _load.load(task))
    assert found == task.levels
    alone = ["image", "text"] if name == "recommendation" else ["user", "image", "text"]
    assert list(found[task.metrics.main].alone) == alone


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"question": "clicks"}, "question: 'clicks' is none of its values: did you mean 'click'?"),
        ({"brands": 0}, "brands: expected `int` >= 2"),
        ({"noise": 0.0}, "noise: expected `float` > 0"),
        ({"noise": -1.0}, "noise: expected `float` > 0"),
        ({"image_noise": -1}, "image_noise: expected `int` >= 0"),
        ({"brand": 3}, "unknown key 'brand': did you mean 'brands'?"),
    ],
    ids=lambda value: (
        "-".join(f"{k}-{v}" for k, v in value.items()) if isinstance(value, dict) else ""
    ),
)
def test_wrong_parameters_are_one_line_that_names_the_key(
    tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        tastes.build(Request("unread", 1, 7, params, SPLITS, None, tmp_path))
    assert message in str(caught.value)
    assert "tasks/unread.toml: dataset.params" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_and_another_modality_are_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this mmbench makes tastes 1; write version = 1"):
        tastes.build(Request("mine", 2, 7, {}, SPLITS, None, tmp_path))
    with pytest.raises(UsageError, match="unknown modality 'smell': this dataset has user, image"):
        tastes.oracle(make().splits["test"], frozenset({"smell"}))
