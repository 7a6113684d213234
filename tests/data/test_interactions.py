"""The interaction suite's data: what is planted where, what every parameter does, pinned bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import registry
from mmbench.data import interactions
from mmbench.data._contract import Request
from mmbench.data.interactions import noise, sequences
from mmbench.data.interactions.structures import MODALITIES, structure
from mmbench.errors import SpecError
from mmbench.references import LabelReferences, ScalarReferences
from mmbench.types import Dataset, Split

Make: TypeAlias = Callable[..., Dataset]
NAMES = (
    "redundant",
    "imbalanced",
    "unique",
    "synergy",
    "synergy3",
    "sentiment",
    "grounding",
    "shortcut",
)
SPLITS = {"train": 40, "val": 20, "test": 30}


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Build a dataset: structure, sizes of splits, parameters."""

    def made(name: str, sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        fields = {"structure": name, **params}
        return interactions.build(
            Request("task", interactions.VERSION, 7, fields, sizes or SPLITS, None, tmp_path)
        )

    return made


def labels(split: Split) -> np.ndarray:
    return np.asarray(split.targets["label"])


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_structure_has_the_shapes_and_outputs_that_were_promised(
    make: Make, name: str
) -> None:
    assert registry.load("dataset", "interactions") is interactions.build
    dataset = make(name)
    assert dataset.signature.main == "label"
    for split_name, size in SPLITS.items():
        split = dataset.splits[split_name]
        assert len(split) == len(set(split.ids)) == size
        assert split.ids[3] == f"{split_name}-0003"
        for modality, told in dataset.signature.modalities.items():
            x = split.inputs[modality]
            assert told.kind == "sequence"
            assert x.shape == (size, *told.shape)  # type: ignore[union-attr]
            assert x.dtype == np.float32  # type: ignore[union-attr]
        output = dataset.signature.outputs["label"]
        assert (output.kind, output.size) == ("label", len(output.vocabulary))
        references = split.references["label"]
        assert isinstance(references, LabelReferences)
        assert references.classes == output.vocabulary
        np.testing.assert_array_equal(references.labels, labels(split))
        assert not split.present


def test_sentiment_has_a_number_beside_its_class(make: Make) -> None:
    dataset = make("sentiment")
    output = dataset.signature.outputs["intensity"]
    assert (output.kind, output.size, output.main) == ("scalar", 1, False)
    assert (output.offset, output.scale) == (0.0, pytest.approx(2.5**0.5))
    split = dataset.splits["test"]
    numbers = split.references["intensity"]
    assert isinstance(numbers, ScalarReferences)
    np.testing.assert_array_equal(numbers.values, np.array([-2, -1, 1, 2])[labels(split)])
    assert split.targets["intensity"].dtype == np.float32
    assert split.references["label"].classes == ("--", "-", "+", "++")  # type: ignore[attr-defined]


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = {
    "redundant": "27a34257dc9b62859f47de11fc901e39150c8839db694f895436e599c81fba36",
    "imbalanced": "6184668eefdb251135ef0d6726c7cc94037a93381be0f18762850cfff6f5b410",
    "unique": "a3394e150aee263a2bbddccb5d4ea62b1abe9f09a16cb93221a078b85e9d6dde",
    "synergy": "6fb63e8994dbd0ec07445f3b89ebaef71dc8d5f8bebccfc8c11878314b172a40",
    "synergy3": "3009d68941f67c0bb2cff5b6b6fd34888e3eca65dc91b8328b02591363379a8c",
    "sentiment": "2c0846096d9708f48b070d77332f7820f07142172da5b5fb87325566696d968a",
    "grounding": "1c117349818271b025fd81216e1721cf411b2caaaaed7c582997fc5dfb427a67",
    "shortcut": "0065b652ae923a62ec70a3c36257ec8ba256f266a88061e75dc4ad2dc3214ab4",
}


@pytest.mark.parametrize("name", BYTES)
def test_bytes_are_pinned(make: Make, name: str) -> None:
    total = hashlib.sha256()
    for split in make(name).splits.values():
        for array in (*split.inputs.values(), *split.targets.values()):
            total.update(np.ascontiguousarray(array).tobytes())  # type: ignore[arg-type]
    assert total.hexdigest() == BYTES[name]


def test_numbers_are_multiples_of_1_256_and_normal() -> None:
    found = noise.normals(3, "some", "stream", shape=(20_000, 2))
    assert abs(found.mean()) < 0.03
    assert abs(found.std() - 1.0) < 0.02
    assert abs((found**4).mean() - 3.0) < 0.2
    assert abs(np.corrcoef(found.T)[0, 1]) < 0.03
    rounded = noise.quantised(found)
    assert rounded.dtype == np.float32
    np.testing.assert_array_equal(rounded * 256, np.rint(found * 256))


def test_the_first_items_do_not_depend_on_sizes_nor_on_other_splits(make: Make) -> None:
    settings: dict[str, Any] = {
        "group": {"modality": "text"},
        "splits": {
            "train": {
                "label_noise": 0.3,
                "label_fraction": 0.7,
                "misaligned": 0.5,
                "conflict": 0.3,
                "group_correlation": 0.5,
                "feature_noise": {"audio": 0.5},
                "missing": {"vision": 0.4},
            }
        },
    }
    small = make("shortcut", **settings).splits["train"]
    large = make("shortcut", {"train": 90, "test": 2}, **settings).splits["train"]
    part = large.take(np.arange(len(small)))
    for name in MODALITIES:
        np.testing.assert_array_equal(part.inputs[name], small.inputs[name])  # type: ignore[arg-type]
    np.testing.assert_array_equal(part.present["vision"], small.present["vision"])
    np.testing.assert_array_equal(labels(part), labels(small))
    for column in small.groups:
        np.testing.assert_array_equal(part.groups[column], small.groups[column])


@pytest.mark.parametrize("width", sequences.WIDTHS)
def test_directions_are_orthonormal_and_no_channel_stands_out(width: int) -> None:
    found = sequences.directions(width)
    np.testing.assert_allclose(found.T @ found, np.eye(width), atol=1e-12)
    np.testing.assert_allclose(np.abs(found), width**-0.5)


# --- what is planted -----------------------------------------------------------------------------


def margin(name: str, *axes: int) -> np.ndarray:
    """Return p(y, the latents of `axes`) as a share of what independence would give."""
    table = structure(name).table  # type: ignore[arg-type]
    joint = table.sum(axis=tuple(a + 1 for a in range(3) if a not in axes))
    return np.asarray(joint)


def certain(joint: np.ndarray) -> bool:
    """Say whether the latents leave one class only."""
    return bool(((joint > 0).sum(axis=0) <= 1).all())


def knows_nothing(joint: np.ndarray) -> bool:
    label = joint.reshape(len(joint), -1).sum(axis=1)
    product = np.multiply.outer(label, joint.sum(axis=0))
    return bool(np.allclose(joint, product, atol=1e-15))


@pytest.mark.parametrize("name", NAMES)
def test_tables_are_laws_with_even_classes(name: str) -> None:
    table = structure(name).table  # type: ignore[arg-type]
    assert table.sum() == pytest.approx(1.0)
    assert table.min() >= 0
    np.testing.assert_allclose(table.sum(axis=(1, 2, 3)), 0.25)
    assert certain(table)


def test_each_structure_plants_what_its_name_says() -> None:
    text, vision, audio = range(3)
    for name in ("redundant", "imbalanced"):
        assert all(certain(margin(name, m)) for m in range(3))
    assert certain(margin("unique", text))
    assert knows_nothing(margin("unique", vision, audio))
    assert certain(margin("synergy", text, vision))
    assert all(knows_nothing(margin("synergy", m, audio)) for m in (text, vision))
    pairs = ((text, vision), (text, audio), (vision, audio))
    assert all(knows_nothing(margin("synergy3", *pair)) for pair in pairs)
    for name in ("grounding", "shortcut"):
        assert certain(margin(name, text, vision))
        assert knows_nothing(margin(name, text, audio))
    assert knows_nothing(margin("grounding", vision))
    assert margin("shortcut", vision).max(axis=0).sum() == pytest.approx(17 / 32)
    assert [structure(n).speaking for n in ("unique", "synergy", "synergy3")] == [  # type: ignore[arg-type]
        (text,),
        (text, vision),
        (text, vision, audio),
    ]


def test_sarcasm_turns_the_sign_and_the_voice_says_how_strong() -> None:
    table = structure("sentiment").table
    for y, text, vision, audio in np.argwhere(table > 0):
        positive = (text >= 2) != (vision == 3)
        assert y == {(0, 0): 1, (0, 1): 0, (1, 0): 2, (1, 1): 3}[int(positive), int(audio >= 2)]


def test_a_sequence_shows_its_latent_at_one_time(make: Make) -> None:
    quiet = dict.fromkeys(MODALITIES, 1e-06)
    split = make("redundant", noise=quiet, amplitude=dict.fromkeys(MODALITIES, 8.0)).splits["test"]
    for number, name in enumerate(MODALITIES):
        shown = np.asarray(split.inputs[name]) @ sequences.state_directions(number, objects=False)
        assert ((np.abs(shown) > 1).sum(axis=(1, 2)) == 1).all()
        np.testing.assert_array_equal(shown.max(axis=1).argmax(axis=1), labels(split))
    times = shown.max(axis=2).argmax(axis=1)
    assert len(set(times.tolist())) > 6


def test_four_frames_show_objects_with_their_values(make: Make) -> None:
    quiet = dict.fromkeys(MODALITIES, 1e-06)
    loud = dict.fromkeys(MODALITIES, 8.0)
    for name, alike in (("grounding", False), ("shortcut", True)):
        split = make(name, noise=quiet, amplitude=loud).splits["test"]
        vision = np.asarray(split.inputs["vision"]) @ sequences.state_directions(1, objects=True)
        assert ((np.abs(vision).max(axis=2) > 1).sum(axis=1) == 4).all()
        text = np.asarray(split.inputs["text"]) @ sequences.state_directions(0, objects=False)
        named = text.max(axis=1).argmax(axis=1)
        frame = vision[np.arange(len(split)), vision[:, :, :4].argmax(axis=1).T[named].diagonal()]
        np.testing.assert_array_equal(frame[:, 4:].argmax(axis=1), labels(split))
        counts = (vision[:, :, 4:] > 1).sum(axis=1)
        assert bool((counts > 1).any()) is alike


# --- what parameters do --------------------------------------------------------------------------


def test_amplitude_and_noise(make: Make) -> None:
    split = make("unique", amplitude={"text": 0.0}, noise={"text": 0.5, "audio": 2.0}).splits[
        "test"
    ]
    assert np.asarray(split.inputs["text"]).std() == pytest.approx(0.5, abs=0.02)
    assert np.asarray(split.inputs["audio"]).std() == pytest.approx(2.1, abs=0.15)


def test_a_split_like_another_has_its_items_with_more_noise(make: Make) -> None:
    sizes = {"train": 4, "test": 200, "noisy": 150}
    changes = {"noisy": {"like": "test", "feature_noise": {"vision": 1.5}}}
    splits = make("synergy", sizes, splits=changes).splits
    test, noisy = splits["test"].take(np.arange(150)), splits["noisy"]
    np.testing.assert_array_equal(labels(test), labels(noisy))
    np.testing.assert_array_equal(test.inputs["text"], noisy.inputs["text"])  # type: ignore[arg-type]
    more = np.asarray(noisy.inputs["vision"]) - np.asarray(test.inputs["vision"])
    assert more.std() == pytest.approx(1.5, abs=0.03)
    assert noisy.ids[0] == "noisy-0000"


def test_label_noise_flips_labels_of_its_split_only(make: Make) -> None:
    sizes = {"train": 2000, "test": 100}
    dirty = make("unique", sizes, splits={"train": {"label_noise": 0.3}}).splits
    clean = make("unique", sizes).splits
    flipped = np.asarray(dirty["train"].groups["flipped"])
    np.testing.assert_array_equal(labels(dirty["train"]) != labels(clean["train"]), flipped)
    assert flipped.mean() == pytest.approx(0.3, abs=0.04)
    shift = (labels(dirty["train"]) - labels(clean["train"]))[flipped] % 4
    assert np.bincount(shift, minlength=4)[1:].min() > 0.28 * flipped.sum()
    np.testing.assert_array_equal(labels(dirty["test"]), labels(clean["test"]))
    assert "flipped" not in dirty["test"].groups


def test_a_label_fraction_leaves_labels_out_and_keeps_the_items(make: Make) -> None:
    sizes = {"train": 1000, "test": 2}
    whole = make("unique", sizes).splits["train"]
    told = {}
    for fraction in (0.1, 0.3):
        part = make("unique", sizes, splits={"train": {"label_fraction": fraction}}).splits["train"]
        told[fraction] = np.asarray(part.groups["told"])
        assert told[fraction].mean() == pytest.approx(fraction, abs=0.05)
        expected = np.where(told[fraction], labels(whole), interactions.UNKNOWN)
        np.testing.assert_array_equal(labels(part), expected)
        np.testing.assert_array_equal(part.references["label"].labels, labels(whole))  # type: ignore[attr-defined]
        np.testing.assert_array_equal(part.inputs["text"], whole.inputs["text"])  # type: ignore[arg-type]
    assert (told[0.3] | ~told[0.1]).all()


def test_misaligned_items_have_one_modality_of_another(make: Make) -> None:
    sizes = {"train": 3000, "test": 2}
    loud = {"amplitude": dict.fromkeys(MODALITIES, 12.0)}
    split = make("redundant", sizes, splits={"train": {"misaligned": 0.4}}, **loud).splits["train"]
    whose = np.asarray(split.groups["misaligned"])
    assert (whose != "none").mean() == pytest.approx(0.4, abs=0.04)
    for number, name in enumerate(MODALITIES):
        shown = np.asarray(split.inputs[name]) @ sequences.state_directions(number, objects=False)
        right = shown.max(axis=1).argmax(axis=1) == labels(split)
        assert right[whose != name].all()
        assert right[whose == name].mean() == pytest.approx(0.25, abs=0.09)


def test_conflicting_items_have_one_modality_of_another_label(make: Make) -> None:
    sizes = {"train": 2, "test": 2000}
    loud = {"amplitude": dict.fromkeys(MODALITIES, 12.0)}
    split = make("redundant", sizes, splits={"test": {"conflict": 0.5}}, **loud).splits["test"]
    whose = np.asarray(split.groups["conflict"])
    assert (whose != "none").mean() == pytest.approx(0.5, abs=0.05)
    for number, name in enumerate(MODALITIES):
        shown = np.asarray(split.inputs[name]) @ sequences.state_directions(number, objects=False)
        np.testing.assert_array_equal(
            shown.max(axis=1).argmax(axis=1) != labels(split), whose == name
        )
    only = make("unique", sizes, splits={"test": {"conflict": 1.0}}).splits["test"]
    assert set(np.asarray(only.groups["conflict"]).tolist()) == {"text"}


def test_a_group_goes_with_the_label_in_training_and_not_in_the_test(make: Make) -> None:
    sizes = {"train": 4000, "test": 4000}
    group = {"modality": "audio", "amplitude": 2.0}
    changes = {"train": {"group_correlation": 0.8}}
    splits = make("unique", sizes, group=group, splits=changes).splits
    for name, wanted in (("train", 0.8), ("test", 0.0)):
        split = splits[name]
        marks = np.asarray(split.groups["group"])
        found = np.corrcoef(marks, labels(split) >= 2)[0, 1]
        assert found == pytest.approx(wanted, abs=0.05)
        height = np.asarray(split.inputs["audio"]) @ sequences.group_direction(2)
        np.testing.assert_array_equal(height.mean(axis=1) > 0, marks == 1)
        for other in (0, 1):
            x = np.asarray(split.inputs[MODALITIES[other]])
            still = (x @ sequences.group_direction(other)).mean(axis=1)
            assert abs(np.corrcoef(still, marks)[0, 1]) < 0.07


def test_missing_modalities_are_marked_and_leave_nothing_behind(make: Make) -> None:
    sizes = {"train": 2, "test": 2000}
    rates = {"text": 0.3, "audio": 1.0}
    split = make("redundant", sizes, splits={"test": {"missing": rates}}).splits["test"]
    assert set(split.present) == {"text", "audio"}
    there = np.asarray(split.present["text"])
    assert there.dtype == np.bool_
    assert (~there).mean() == pytest.approx(0.3, abs=0.04)
    assert not np.asarray(split.inputs["text"])[~there].any()
    assert not split.present["audio"].any()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"structure": "synergi"}, "structure"),
        ({"structure": "synergy", "loud": 1}, "loud"),
        ({"structure": "synergy", "noise": {"smell": 1.0}}, "smell"),
        ({"structure": "synergy", "noise": {"text": 0.0}}, "noise"),
        ({"structure": "synergy", "splits": {"tst": {}}}, "did you mean 'test'"),
        ({"structure": "synergy", "splits": {"test": {"label_noise": 1.5}}}, "label_noise"),
        ({"structure": "synergy", "splits": {"test": {"like": "tset"}}}, "like = 'tset'"),
        ({"structure": "synergy", "splits": {"test": {"like": "test"}}}, "its own items"),
        ({"structure": "sentiment", "splits": {"train": {"label_fraction": 0.5}}}, "left out"),
        (
            {"structure": "synergy", "splits": {"train": {"group_correlation": 0.5}}},
            "there is no group: write",
        ),
    ],
)
def test_wrong_parameters_are_one_line_that_names_the_key(
    tmp_path: Path, params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        interactions.build(Request("unread", 1, 7, params, SPLITS, None, tmp_path))
    assert message in str(caught.value)
    assert "tasks/unread.toml: dataset.params" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="this mmbench makes interactions 1; write version = 1"):
        interactions.build(Request("mine", 2, 7, {"structure": "unique"}, SPLITS, None, tmp_path))
