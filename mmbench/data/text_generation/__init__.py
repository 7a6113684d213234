"""Text generation: continue a verse by a second line that rhymes. Built in, generated.

A first line is given, and with it, in one of two forms of the task, a picture that the second line
is to speak of. Lines come from a small grammar with probabilities, which can be read back into
facts, so that beside BLEU and chrF there are slot scores, and what is possible is known. The last
word takes both: see `verse`.

The parts: `verse` (grammar), `picture` (render), `oracle` (the law, best answers, bounds).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import numpy as np

from mmbench import catalog, rng
from mmbench.data import _finite
from mmbench.data._cache import Entry, Made, Parts, cached, rendered
from mmbench.data._cache import source_digest as file_digest
from mmbench.data._contract import Request, checked
from mmbench.data.scenecap import noise as bytes_of
from mmbench.data.text_generation import picture, verse
from mmbench.data.text_generation.oracle import bounds, late_references, oracle
from mmbench.data.text_generation.references import references
from mmbench.data.text_generation.verse import Facts, Opening, Wording
from mmbench.errors import SpecError
from mmbench.text import EOS, Vocabulary
from mmbench.types import Dataset, Modality, Output, Ragged, Signature, Split

if TYPE_CHECKING:
    from mmbench.types import Array

__all__ = ["VERSION", "Params", "bounds", "build", "late_references", "source_digest"]

#: Raised whenever the data change.
VERSION = 1
#: First lines are dealt out to so many splits, and none is dealt twice.
HANDS = 8
_FIRST = ("train", "val", "test")


class Params(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a task may set.

    Attributes:
        picture: Whether there is one; without it, what it would show is drawn all the same, and
            cannot be known.
        references: Second lines an item, 1..10: the same facts in wordings of their own.
        noise: Even noise on every pixel of at most so many of 255 levels, 0 to 40.
    """

    picture: bool = True
    references: Annotated[int, msgspec.Meta(ge=1, le=10)] = 4
    noise: Annotated[int, msgspec.Meta(ge=0, le=40)] = 8


def source_digest(request: Request) -> str:
    """Return the digest of what lies on the user's disk: nothing does."""
    del request
    return ""


def build(request: Request) -> Dataset:
    """Return the dataset, from the cache if it has been made before.

    No first line is there twice, in all splits together. The first n items of a split are the
    same whatever its size.

    Raises:
        SpecError: Another version is asked for, a parameter is wrong, or there are more splits, or
            more items in one, than there are first lines.
    """
    task = catalog.task_where(request.task)
    params = checked(request, "text_generation", VERSION, Params)
    hands = _hands(request.splits, task)
    files: list[str | Path] = [
        *sorted(Path(__file__).parent.glob("*.py")),
        _finite.__file__,
        bytes_of.__file__,
    ]
    key = {
        "name": "text_generation",
        "version": VERSION,
        "seed": request.seed,
        "params": msgspec.to_builtins(params),
        "splits": dict(request.splits),
        "source": file_digest(*files),
    }
    entry = cached(request.cache, key, lambda: _make(request.seed, params, request.splits, hands))
    splits = {name: _split(entry, name, params) for name in request.splits}
    return Dataset(signature(params), splits, entry.fingerprint, oracle)


def _hands(splits: Mapping[str, int], where: str) -> dict[str, int]:
    """Return which hand of first lines each split is dealt."""
    others = sorted(set(splits) - set(_FIRST))
    if len(_FIRST) + len(others) > HANDS:
        raise SpecError(
            f"{where}: splits: {len(others)} beside train, val and test; expected "
            f"{HANDS - len(_FIRST)} at most, so that no first line is in two"
        )
    most = verse.OPENINGS // HANDS
    for name, items in splits.items():
        if items > most:
            raise SpecError(f"{where}: splits.{name} = {items}: expected {most} at most, which is "
                            f"how many first lines there are for each split")  # fmt: skip
    return {name: place for place, name in enumerate((*_FIRST, *others))}


def signature(params: Params) -> Signature:
    """Return what models need to know."""
    prompt = Modality("text", (verse.opening_length(),), verse.opening_words())
    seen = {"image": Modality("image", picture.SHAPE)} if params.picture else {}
    written = Output("text", verse.closing_length(), verse.closing_words())
    return Signature({**seen, "prompt": prompt}, {"continuation": written})


def _make(seed: int, params: Params, splits: Mapping[str, int], hands: Mapping[str, int]) -> Made:
    dealt = rng.permutation(seed, "text_generation", "first lines", count=verse.OPENINGS)
    arrays: dict[str, Any] = {}
    for split, items in splits.items():
        numbers = dealt[hands[split] :: HANDS][:items]
        openings = np.stack(np.unravel_index(numbers, verse.DIGITS), axis=1)
        seen = _seen(seed, split, items)
        facts = _facts(openings, seen)
        prompts = [verse.opening(Opening(*line)) for line in openings.tolist()]
        ids, lengths = _prompts(prompts)
        made: dict[str, Any] = {
            "facts": facts.astype(np.uint8),
            "place": seen[:, 3].astype(np.uint8),
            "hour": openings[:, 0].astype(np.uint8),
            "prompt": ids,
            "lengths": lengths,
            "lines": _lines(seed, split, facts, params.references),
        }
        if params.picture:
            made["image"] = _pictures(seed, split, seen, params.noise)
        arrays.update({f"{split}.{field}": array for field, array in made.items()})
    return arrays, {}


def _seen(seed: int, split: str, items: int) -> Array:
    """Draw what pictures show, [N, 4]: count less one, colour, thing, place."""
    sizes = {
        "count": len(verse.COUNTS),
        "colour": len(verse.COLOURS),
        "thing": len(verse.THINGS),
        "place": len(verse.PLACES),
    }
    drawn = [
        rng.integers(seed, "text_generation", split, name, count=items, below=size)
        for name, size in sizes.items()
    ]
    return np.stack(drawn, axis=1)


def _facts(openings: Array, seen: Array) -> Array:
    """Return what second lines say, [N, 6] in the order of `verse.Facts`."""
    lines = Opening(*openings.T)
    count, colour, thing, place = seen.T
    table = np.array([[verse.ending(p, h) for h in range(len(verse.HOURS))]
                      for p in range(len(verse.PLACES))])  # fmt: skip
    ending = table[place, lines.hour]
    return np.stack(Facts(lines.pronoun, count, colour, thing, lines.rhyme, ending), axis=1)


def _prompts(texts: Sequence[str]) -> tuple[Array, Array]:
    """Return token ids [N, L], 0 behind each text, and their numbers [N]."""
    words = Vocabulary(verse.opening_words())
    ids = np.zeros((len(texts), verse.opening_length()), dtype=np.int16)
    lengths = np.zeros(len(texts), dtype=np.int64)
    for row, text in enumerate(texts):
        found = words.encode(text.split())
        ids[row, : len(found)] = found
        lengths[row] = len(found)
    return ids, lengths


def _lines(seed: int, split: str, facts: Array, count: int) -> Array:
    """Return the token ids of the references, [N, R, L]: words, the end mark, then 0."""
    drawn = []
    for name, (_, weights) in verse.CHOICES.items():
        unit = rng.uniform(seed, "text_generation", split, name, count=len(facts) * count)
        law = np.broadcast_to(np.array(weights, dtype=np.float64), (len(unit), len(weights)))
        drawn.append(_finite.pick(law, unit))
    ways = np.stack(drawn, axis=1).reshape(len(facts), count, -1)
    words = Vocabulary(verse.closing_words())
    ids = np.zeros((len(facts), count, verse.closing_length()), dtype=np.int16)
    for row, (fact, several) in enumerate(zip(facts.tolist(), ways.tolist(), strict=True)):
        for place, way in enumerate(several):
            found = words.encode(verse.closing(Facts(*fact), Wording(*way)).split())
            ids[row, place, : len(found) + 1] = [*found, EOS]
    return ids


def _pictures(seed: int, split: str, seen: Array, noise: int) -> Parts:
    """Render all pictures."""
    draws = rng.uniform(
        seed, "text_generation", split, "picture", count=len(seen) * picture.DRAWS
    ).reshape(len(seen), picture.DRAWS)

    def block_of(block: int, rows: slice) -> Array:
        shape = (len(seen[rows]), *picture.SHAPE)
        raw = bytes_of.random_bytes(seed, "text_generation", split, "pixels", block, shape=shape)
        return picture.render(seen[rows], draws[rows], raw, noise)

    return rendered(bytes_of.blocks(len(seen)), picture.SHAPE, np.uint8, block_of)


def _split(entry: Entry, name: str, params: Params) -> Split:
    arrays = {
        key.removeprefix(f"{name}."): array
        for key, array in entry.arrays.items()
        if key.startswith(f"{name}.")
    }
    seen = {"image": arrays["image"]} if params.picture else {}
    hours = np.asarray(arrays["hour"])
    return Split(
        ids=[f"{name}-{i:04d}" for i in range(len(hours))],
        inputs={**seen, "prompt": Ragged(arrays["prompt"], arrays["lengths"])},
        targets={"continuation": arrays["lines"]},
        references={"continuation": references(arrays["lines"], arrays["facts"])},
        groups={
            "place": np.array(verse.PLACES)[np.asarray(arrays["place"])],
            "by": np.array(["day", "night"])[hours // 2],
        },
    )
