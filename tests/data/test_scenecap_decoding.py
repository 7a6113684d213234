"""What SceneCap plants can be read from its arrays alone, so the oracle may use what is planted.

The decoders here see nothing but pixels and spectrograms: matched filters over the templates.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import pytest

from mmbench.data import scenecap
from mmbench.data._contract import Request
from mmbench.data.scenecap import grammar, render, sound, world
from mmbench.types import Split

ITEMS = {"train": 8, "val": 8, "test": 3000, "ood": 1000}
SEED = 77


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Split]:
    cache = tmp_path_factory.mktemp("cache")
    made = scenecap.build(Request("captioning", 1, SEED, {}, ITEMS, None, cache))
    return dict(made.splits)


class Seen(NamedTuple):
    """What the image decoder finds in each of the 16 cells; shape -1 where there is no object."""

    shape: np.ndarray
    size: np.ndarray
    colour: np.ndarray
    occluder: np.ndarray


def decode_images(images: np.ndarray) -> Seen:
    """Read [N, 3, 48, 48] pixels."""
    grid, cell = world.GRID, render.CELL
    cells = images.reshape(len(images), 3, grid, cell, grid, cell).transpose(0, 2, 4, 1, 3, 5)
    cells = cells.reshape(len(images) * grid * grid, 3, cell * cell).astype(float)
    centred = cells - cells.mean(axis=2, keepdims=True)
    masks = render.masks().reshape(-1, cell * cell) / 64.0
    filters = masks - masks.mean(axis=1, keepdims=True)
    norms = (filters**2).sum(axis=1)
    along = centred @ filters.T  # [cells, 3, templates]
    energy = (along**2).sum(axis=1) / norms
    best = energy.argmax(axis=1)
    contrast = along[np.arange(len(best)), :, best] / norms[best, None]
    inside = cells.mean(axis=2) + contrast * (1 - masks[best].mean(axis=1, keepdims=True))
    distance = ((inside[:, None] - np.array(render.PALETTE)) ** 2).sum(axis=2)
    # The occluder is grey all over: its mean is far darker than a cell's that has an object.
    saturation = np.ptp(cells.mean(axis=2), axis=1)
    diagonal = np.add.outer(np.arange(cell), np.arange(cell)).ravel()
    stripes = np.stack([(diagonal + phase) // 2 % 2 - 0.5 for phase in range(4)])
    striped = ((centred.mean(axis=1) @ stripes.T) ** 2).max(axis=1) / (stripes**2).sum(1).max()
    occluder = (striped > 30_000) & (saturation < 15) & (cells.mean(axis=(1, 2)) < 170)
    there = (energy.max(axis=1) > 40_000) & ~occluder
    per_size = np.prod(render.masks().shape[2:4])
    number = best // per_size
    shape = np.where(there, number // len(world.SIZES), -1)
    fields = (shape, number % len(world.SIZES), distance.argmin(axis=1), occluder)
    return Seen(*(field.reshape(len(images), grid, grid) for field in fields))


def decode_audio(spectrograms: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Read sound, count and pan, [N] each, from [N, 2, 16, 24] levels: the nearest template."""
    frames, bands = np.arange(sound.SHAPE[1]), np.arange(sound.SHAPE[2])
    quieter = np.array(sound.ATTENUATION)
    templates, keys = [], []
    choices = (range(len(world.SOUNDS)), range(2, 6), range(sound.ONSETS), range(len(quieter)))
    for number, count, onset, pan in itertools.product(*choices):
        at = frames - onset
        on = (at >= 0) & (at < sound.PERIOD * count)
        level = sound.templates()[number][at % sound.PERIOD] * on[:, None]
        echoing = on & (at % sound.PERIOD == sound.PERIOD - 1)
        echo = sound.ECHO * echoing[:, None] * (bands // sound.ECHO_BANDS == pan)
        weaker = np.array([quieter[pan], quieter[::-1][pan]])[:, None, None]
        heard = np.where(level > 0, np.maximum(level - weaker, 0), 0)
        templates.append((sound.FLOOR + heard + echo).ravel())
        keys.append((number, count, pan))
    bank, table = np.array(templates, dtype=float), np.array(keys)
    flat = spectrograms.reshape(len(spectrograms), -1).astype(float)
    distance = (bank**2).sum(
        axis=1
    ) - 2 * flat @ bank.T  # the item's own square is the same for all
    best = table[distance.argmin(axis=1)]
    return best[:, 0], best[:, 1], best[:, 2]


def agreement(found: np.ndarray, planted: np.ndarray) -> float:
    return float(np.mean(found == planted))


@pytest.mark.parametrize("name", ["test", "ood"])
def test_every_object_of_an_image_can_be_decoded(splits: dict[str, Split], name: str) -> None:
    scenes = world.draw(SEED, name, ITEMS[name], 0.5)
    seen = decode_images(np.asarray(splits[name].inputs["image"]))
    item = np.arange(len(scenes))
    planted = {key: np.full((len(scenes), 4, 4), -1) for key in ("shape", "size", "colour")}
    right = np.ones(len(scenes), dtype=bool)
    for slot in range(world.MOST):
        there = scenes.visible > slot
        place = (item[there], scenes.row[there, slot], scenes.column[there, slot])
        planted["shape"][place] = scenes.shape[there, slot]
        for key in ("size", "colour"):
            right[there] &= getattr(seen, key)[place] == getattr(scenes, key)[there, slot]
    right &= (seen.shape == planted["shape"]).all(axis=(1, 2))
    assert right.mean() >= 0.999
    occluder = np.zeros((len(scenes), 4, 4), dtype=bool)
    here = scenes.occluded
    occluder[item[here], scenes.row[here, 4], scenes.column[here, 4]] = True
    assert (seen.occluder == occluder).all(axis=(1, 2)).mean() >= 0.999


@pytest.mark.parametrize("name", ["test", "ood"])
def test_sound_count_and_direction_can_be_decoded(splits: dict[str, Split], name: str) -> None:
    scenes = world.draw(SEED, name, ITEMS[name], 0.5)
    heard, count, pan = decode_audio(np.asarray(splits[name].inputs["audio"]))
    assert agreement(heard, scenes.sound) >= 0.999
    assert agreement(count, scenes.count) >= 0.999
    assert agreement(pan, scenes.pan) >= 0.999


@pytest.mark.parametrize("name", ["test", "ood"])
def test_pixels_and_sound_together_give_every_fact_of_the_captions(
    splits: dict[str, Split], name: str
) -> None:
    """From the arrays alone: the planted truth enters only in the comparison."""
    split = splits[name]
    seen = decode_images(np.asarray(split.inputs["image"]))
    heard, count, pan = decode_audio(np.asarray(split.inputs["audio"]))
    references = split.references["caption"]
    assert references.parse is not None
    right = 0
    for i, texts in enumerate(references.texts):
        rows, columns = np.nonzero(seen.shape[i] >= 0)  # in the order of rows
        objects = [
            tuple(int(field[i, r, c]) for field in (seen.size, seen.colour, seen.shape))
            for r, c in zip(rows, columns, strict=True)
        ]
        emitters = [thing for thing, c in zip(objects, columns, strict=True) if c == pan[i]]
        if len(emitters) != 1:
            continue
        facts = grammar.Facts(
            sound=int(heard[i]),
            number=int(count[i]),
            emitter_colour=emitters[0][1],
            emitter_shape=emitters[0][2],
            distance=int(rows[-1] - rows[0] == world.GRID - 1),
            upper_size=objects[0][0],
            upper_colour=objects[0][1],
            upper_shape=objects[0][2],
            lower_size=objects[-1][0],
            lower_colour=objects[-1][1],
            lower_shape=objects[-1][2],
        )
        right += references.parse(grammar.caption(facts, grammar.Wording())) == references.parse(
            texts[0]
        )
    assert right / len(split) >= 0.999


def test_the_image_does_not_show_what_the_occluder_hides(splits: dict[str, Split]) -> None:
    """The occluder's pixels have the same distribution with and without an object behind it."""
    scenes = world.draw(SEED, "test", ITEMS["test"], 0.5)
    images = np.asarray(splits["test"].inputs["image"]).astype(float)
    here = np.flatnonzero(scenes.occluded)
    cells = images.reshape(-1, 3, 4, 12, 4, 12)[
        here, :, scenes.row[here, 4], :, scenes.column[here, 4]
    ]
    hidden = scenes.hidden[here]
    for statistic in (
        cells.mean(axis=(1, 2, 3)),
        cells.std(axis=(1, 2, 3)),
        cells[:, :, 5:7].mean((1, 2, 3)),
    ):
        first, second = statistic[hidden], statistic[~hidden]
        error = np.sqrt(first.var() / len(first) + second.var() / len(second))
        assert abs(first.mean() - second.mean()) < 4 * error
