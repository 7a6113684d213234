"""Text generation: the grammar and its law, what pictures show, and what can be known."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest

from mmbench import catalog, registry
from mmbench.data import _load, text_generation
from mmbench.data._contract import Request
from mmbench.data.text_generation import picture, verse
from mmbench.data.text_generation.oracle import bits, known, lines, oracle
from mmbench.data.text_generation.references import facts_of
from mmbench.data.text_generation.verse import Facts, Opening, Wording
from mmbench.errors import SpecError, UsageError
from mmbench.scoring import score
from mmbench.text import EOS
from mmbench.types import Dataset, Ragged, Split

Make: TypeAlias = Callable[..., Dataset]
SPLITS = {"train": 60, "val": 20, "test": 120}
NOTHING, IMAGE, PROMPT = frozenset[str](), frozenset({"image"}), frozenset({"prompt"})
BOTH = IMAGE | PROMPT


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    cache = tmp_path_factory.mktemp("cache")

    def made(sizes: dict[str, int] | None = None, **params: Any) -> Dataset:
        return text_generation.build(Request("task", 1, 5, params, sizes or SPLITS, None, cache))

    return made


def prompts(split: Split) -> list[str]:
    told, words = split.inputs["prompt"], verse.opening_words()
    assert isinstance(told, Ragged)
    rows = zip(told.values, told.lengths, strict=True)
    return [" ".join(words[i] for i in row[:length]) for row, length in rows]


def facts(split: Split) -> np.ndarray:
    return np.array(facts_of(split))


# --- the dataset as the contract wants it --------------------------------------------------------


@pytest.mark.parametrize("seen", [True, False])
def test_shapes_are_those_that_were_promised(make: Make, seen: bool) -> None:
    assert registry.load("dataset", "text_generation") is text_generation.build
    dataset = make(picture=seen, references=3)
    assert list(dataset.signature.modalities) == ["image", "prompt"][not seen :]
    output = dataset.signature.outputs["continuation"]
    for name, size in SPLITS.items():
        split = dataset.splits[name]
        assert len(split) == len(set(split.ids)) == size
        targets = np.asarray(split.targets["continuation"])
        assert targets.shape == (size, 3, output.size)
        assert ((targets == EOS).sum(axis=2) == 1).all()
        texts = split.references["continuation"].texts  # type: ignore[attr-defined]
        ids = [output.vocabulary.index(word) for word in texts[4][2].split()]
        assert targets[4, 2, : len(ids) + 1].tolist() == [*ids, EOS]
        part = split.take(np.array([3, 1]))
        np.testing.assert_array_equal(facts(part), facts(split)[[3, 1]])
        assert part.references["continuation"].texts[0] == texts[3]  # type: ignore[attr-defined]


#: SHA-256 over all arrays of the splits above; a change here needs a new VERSION.
BYTES = "0dff9a41f33182a5ddcab7f9360b9cbf3e331b5ce7b70ac639c32a6aa4d8ad56"


def test_bytes_are_pinned(make: Make) -> None:
    total = hashlib.sha256()
    for split in make().splits.values():
        for array in (*split.inputs.values(), *split.targets.values()):
            parts = (array.values, array.lengths) if isinstance(array, Ragged) else (array,)
            for part in parts:
                total.update(np.ascontiguousarray(part).tobytes())
    assert total.hexdigest() == BYTES


def test_no_first_line_is_there_twice_and_the_first_items_do_not_depend_on_how_many(
    make: Make,
) -> None:
    sizes = {"train": 3000, "val": 500, "test": 500, "later": 500}
    dataset = make(sizes, picture=False, references=1)
    every = [line for split in dataset.splits.values() for line in prompts(split)]
    assert len(set(every)) == len(every)
    fewer = make({"test": 40}, picture=False, references=1).splits["test"]
    assert prompts(fewer) == prompts(dataset.splits["test"])[:40]
    np.testing.assert_array_equal(facts(fewer), facts(dataset.splits["test"])[:40])
    pictures = np.asarray(make().splits["test"].inputs["image"])
    again = np.asarray(make({"test": 30}).splits["test"].inputs["image"])
    np.testing.assert_array_equal(again, pictures[:30])
    assert len({p.tobytes() for p in pictures}) == len(pictures)


@pytest.mark.parametrize(
    ("sizes", "params", "message"),
    [
        ({}, {"references": 0}, "task.toml: dataset.params: references"),
        ({}, {"noise": 41}, "task.toml: dataset.params: noise"),
        ({}, {"pictures": True}, "did you mean 'picture'"),
        ({"train": 40_000}, {}, "splits.train = 40000: expected 30720 at most"),
        (dict.fromkeys("abcdef", 2), {}, "splits: 6 beside train, val and test; expected 5"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_key(
    make: Make, sizes: dict[str, int], params: dict[str, Any], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        make(SPLITS | sizes, **params)
    assert message in str(caught.value)
    assert "tasks/task.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="makes text_generation 1; write version = 1"):
        text_generation.build(Request("mine", 2, 5, {}, SPLITS, None, tmp_path))


# --- the grammar ---------------------------------------------------------------------------------


def test_every_second_line_can_be_read_back() -> None:
    ways, seen = list(verse.wordings()), set()
    assert sum(map(verse.chance, ways)) == pytest.approx(1.0)
    sizes = [2, 3, 5, 4, 4, 4]
    for number, values in enumerate(product(*map(range, sizes))):
        fact = Facts(*values)
        text = verse.closing(fact, ways[number % len(ways)])
        assert verse.parse(text) == verse.slots_of(fact)
        assert verse.parse(f"  {text.upper()} !") == verse.slots_of(fact)
        seen.update(text.split())
        assert len(text.split()) < verse.closing_length()
    assert seen == set(verse.closing_words()[4:])
    fact = Facts(0, 1, 2, 3, 0, 1)
    assert len({verse.closing(fact, way) for way in ways}) == len(ways)
    assert verse.likeliest() == Wording()


@pytest.mark.parametrize("text", ["", "he", "the the the", "two two red", "kite", "lane he sees"])
def test_what_is_no_second_line_is_read_as_far_as_it_goes(text: str) -> None:
    found = verse.parse(text)
    assert set(found) == set(verse.SLOTS)
    assert not found["object"]
    assert not found["relation"]
    assert bool(found["who"]) == ("he" in text.split())


def test_lists_of_guesses_win_nothing() -> None:
    found = verse.parse("he she sees one red kite two blue bells by the lane main")
    assert {slot: len(fillers) for slot, fillers in found.items()} == dict.fromkeys(verse.SLOTS, 1)
    assert found["relation"] == {("main",)}


def test_first_lines_are_numbered_by_what_they_say() -> None:
    numbers = np.random.default_rng(0).choice(verse.OPENINGS, size=3000, replace=False)
    digits = np.stack(np.unravel_index(numbers, verse.DIGITS), axis=1)
    texts = {verse.opening(Opening(*row)) for row in digits.tolist()}
    assert len(texts) == 3000
    assert max(len(text.split()) for text in texts) <= verse.opening_length()
    assert {w for t in texts for w in t.split()} == set(verse.opening_words()[4:])
    ends = [word for words in verse.ENDS.values() for word in words]
    tails = {tail.split()[-1] for group in verse.TAILS.values() for tail in group}
    assert len(set(ends)) == 16
    assert not tails & set(ends)


# --- what is shown -------------------------------------------------------------------------------


def read_picture(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Read count less one, colour, thing and place off a picture, by its best explanation."""
    x = pixels.astype(int)
    grounds, stencils = picture.grounds().astype(int), picture.stencils()
    place = int(np.abs(x - grounds).sum(axis=(1, 2, 3)).argmin())
    found: list[tuple[int, int]] = []
    for column in range(3):
        best = (0.0, -1, -1)
        for top in range(picture.ROWS):
            rows = slice(top, top + picture.THING)
            columns = slice(picture.COLUMN * column, picture.COLUMN * column + picture.THING)
            window, ground = x[:, rows, columns], grounds[place][:, rows, columns]
            for thing, stencil in enumerate(stencils):
                for colour, ink in enumerate(picture.COLOURS.astype(int)):
                    drawn = np.where(stencil == 2, ink[:, None, None], picture.OUTLINE)
                    drawn = np.where(stencil > 0, drawn, ground)
                    gain = np.abs(window - ground).sum() - np.abs(window - drawn).sum()
                    best = max(best, (float(gain), thing, colour))
        if best[0] > 4000:
            found.append(best[1:])
    (thing, colour), _ = Counter(found).most_common(1)[0]
    return len(found) - 1, colour, thing, place


def test_what_a_picture_shows_can_be_read_off_it(make: Make) -> None:
    split = make({"test": 120}).splits["test"]
    true, places = facts(split), split.groups["place"]
    right = []
    for row in range(120):
        count, colour, thing, place = read_picture(np.asarray(split.inputs["image"])[row])
        right.append(
            [*np.equal([count, colour, thing], true[row, 1:4]), verse.PLACES[place] == places[row]]
        )
    assert np.mean(right, axis=0).min() >= 0.99


def test_the_last_word_takes_the_hour_and_the_place(make: Make) -> None:
    split = make({"test": 2000}, picture=False, references=1).splits["test"]
    true = facts(split)
    place = np.array([verse.PLACES.index(name) for name in split.groups["place"]])
    day = np.asarray(split.groups["by"]) == "day"
    np.testing.assert_array_equal(true[day, 5], place[day])
    np.testing.assert_array_equal(true[~day, 5], np.array(verse.OPPOSITE)[place[~day]])
    for line, fact, early in zip(prompts(split)[:50], true[:50], day[:50], strict=True):
        hour = next(h for h, name in enumerate(verse.HOURS) if line.startswith(name))
        assert (hour < 2) == early
        assert any(line.endswith(tail) for tail in verse.TAILS[verse.RHYMES[fact[4]]])
        assert any(f" {who} " in line for who in verse.PEOPLE[fact[0]])
    # Nothing of the picture depends on the first line.
    table = np.zeros((4, 4))
    np.add.at(table, (true[:, 4], true[:, 5]), 1)
    assert np.abs(table / 2000 - 1 / 16).max() < 0.025


# --- what can be known ---------------------------------------------------------------------------


def all_items() -> list[tuple[Facts, int, int]]:
    """Every item that there is but for wording: facts, hour and place, all equally likely."""
    return [
        (Facts(who, count, colour, thing, rhyme, verse.ending(place, hour)), hour, place)
        for who, count, colour, thing, rhyme, place, hour in product(
            range(2), range(3), range(5), range(4), range(4), range(4), range(4)
        )
    ]


@pytest.mark.parametrize(
    "heard", [NOTHING, IMAGE, PROMPT, BOTH], ids=lambda h: "+".join(sorted(h)) or "-"
)
def test_the_law_is_that_of_all_items_that_look_alike(heard: frozenset[str]) -> None:
    every = all_items()

    def looks(item: tuple[Facts, int, int]) -> tuple[Any, ...]:
        fact, hour, place = item
        seen = (fact.number, fact.colour, fact.thing, place) if "image" in heard else ()
        return seen + ((fact.pronoun, fact.rhyme, hour) if "prompt" in heard else ())

    for own in (every[17], every[3333]):
        alike = Counter(item[0] for item in every if looks(item) == looks(own))
        total = sum(alike.values())
        assert known(own[0], heard) == pytest.approx({f: n / total for f, n in alike.items()})
    if not heard:  # two hundred thousand lines
        assert bits(heard) == pytest.approx(bits(BOTH) + np.log2(2 * 3 * 5 * 4 * 4 * 4))
        return
    texts, chances = zip(*lines(every[17][0], heard), strict=True)
    assert sum(chances) == pytest.approx(1.0)
    assert -(np.array(chances) * np.log2(chances)).sum() == pytest.approx(bits(heard))
    assert len(set(texts)) == len(texts)


def test_references_are_worded_as_the_law_says(make: Make) -> None:
    split = make({"test": 1500}, picture=False, references=4).splits["test"]
    texts = split.references["continuation"].texts  # type: ignore[attr-defined]
    firsts = Counter(text.split()[0] for group in texts for text in group)
    for word, weight in zip(*verse.CHOICES["conjunction"], strict=True):
        assert firsts[word] / 6000 == pytest.approx(weight / 10, abs=0.03)
    likeliest = dict(lines(facts_of(split)[0], BOTH))
    assert set(texts[0]) <= set(likeliest)
    share = np.mean([verse.closing(f, Wording()) == t[0]
                     for f, t in zip(facts_of(split), texts, strict=True)])  # fmt: skip
    assert share == pytest.approx(verse.chance(Wording()), abs=0.04)


def test_the_oracle_says_the_likeliest_line_and_keeps_to_the_bounds(make: Make) -> None:
    split = make({"test": 1500}, picture=True, noise=0, references=1).splits["test"]
    names = ["slot_f1", "object_f1", "attribute_f1", "count_f1", "sound_f1", "relation_f1"]
    proven = text_generation.bounds(split)
    assert set(proven) == set(names)
    found = {}
    for heard in (NOTHING, IMAGE, PROMPT, BOTH):
        said = oracle(split, heard)
        if heard:
            possible = dict(lines(facts_of(split)[5], heard))
            assert possible[said.outputs["continuation"][5]] == max(possible.values())
        scored = score(said, split.references, "continuation", names, ids=split.ids).scores
        found[heard] = {name: scored[name] for name in names}
        for name in names:
            if len(heard) == 1:
                (own,) = heard
                got, bound = scored[name], proven[name][own]
                margin = 1e-9 if got.value == bound else 4 * got.se + 1e-9
                assert got.value < bound + margin
                if name != "slot_f1":  # of all slots it pays to leave some out
                    assert got.value > bound - margin
    assert all(found[BOTH][name].value == 1.0 for name in names)
    last = {h: found[h]["relation_f1"].value for h in found}
    assert last[NOTHING] < last[IMAGE] < last[PROMPT] < 0.3
    shuffled = oracle(split.take(np.roll(np.arange(1500), 1)), BOTH).outputs["continuation"]
    mixed = type(oracle(split, BOTH))(split.ids, {"continuation": shuffled})
    scored = score(mixed, split.references, "continuation", names, ids=split.ids).scores
    assert scored["relation_f1"].value == pytest.approx(1 / 16, abs=0.03)
    assert scored["object_f1"].value == pytest.approx(1 / 4, abs=0.05)


def test_what_is_no_modality_or_another_dataset_is_refused(make: Make) -> None:
    split = make(picture=False).splits["val"]
    assert list(text_generation.bounds(split)["relation_f1"]) == ["prompt"]
    assert not text_generation.late_references(split)
    with pytest.raises(UsageError, match="unknown modality 'image': the data have prompt"):
        oracle(split, IMAGE)
    with pytest.raises(UsageError, match="not of the dataset 'text_generation'"):
        oracle(Split(split.ids, split.inputs, {}, {}), PROMPT)


def test_levels_leave_something_to_win() -> None:
    levels = catalog.task("text_generation").levels
    last = levels["relation_f1"]
    assert max(last.alone.values()) < 0.3 < last.late_reference == 0.5 < last.ceiling == 1.0
    blind = catalog.task("text_generation_blind").levels
    for metric, level in blind.items():
        assert level.ceiling == level.alone["prompt"]
        assert level.ceiling == pytest.approx(levels[metric].alone["prompt"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["text_generation", "text_generation_blind"])
def test_levels_are_what_the_oracle_scores(name: str) -> None:
    from mmbench import levels

    task = catalog.task(name)
    found = levels.levels(task, _load.load(task))
    assert found == task.levels, f"write them anew: python -m mmbench.levels {name}"
